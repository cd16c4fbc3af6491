// SPDX-License-Identifier: GPL-2.0-or-later
/* Is there a socket for this packet here?  Looked up, looked at, given back; storage beside a socket. */
#include "helpers.h"
#include "packet.h"

struct bpf_sock {
	u32 bound_dev;
	u32 family;
	u32 type;
	u32 protocol;
	u32 mark;
	u32 priority;
	be32 src_ip4;
	be32 src_ip6[4];
	u32 src_port; /* host order */
	be16 dst_port;
	u16 unused;
	be32 dst_ip4;
	be32 dst_ip6[4];
	u32 state;
	s32 rx_queue;
};

struct bpf_tcp_sock {
	u32 snd_cwnd;
	u32 srtt_us;
};

struct tuple4 {
	be32 src;
	be32 dst;
	be16 src_port;
	be16 dst_port;
};

#define TCP_LISTEN 10

struct {
	MAP_UINT(type, MAP_SK_STORAGE);
	MAP_UINT(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, u64);
} notes SEC(".maps");

struct {
	MAP_UINT(type, MAP_SOCKMAP);
	MAP_UINT(max_entries, 4);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} chosen SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 8);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} found SEC(".maps");

enum { NONE, UDP, TCP_SYN_SEEN, TCP_OPEN, ASSIGNED, OWN };

INLINE void count(u32 what)
{
	u64 *packets = bpf_map_lookup_elem(&found, &what);

	if (packets)
		__sync_fetch_and_add(packets, 1);
}

INLINE void tuple_of(const struct flow *flow, struct tuple4 *tuple)
{
	tuple->src = flow->src;
	tuple->dst = flow->dst;
	tuple->src_port = flow->src_port;
	tuple->dst_port = flow->dst_port;
}

SEC("tc/udp")
int lookup_udp(struct __sk_buff *skb)
{
	struct tuple4 tuple;
	struct bpf_sock *sk;
	struct flow flow;

	if (flow_of(skb, &flow) || flow.protocol != IPPROTO_UDP)
		return TC_ACT_UNSPEC;
	tuple_of(&flow, &tuple);
	sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple), F_CURRENT_NETNS, 0);
	if (!sk) {
		count(NONE);
		return TC_ACT_SHOT;
	}
	count(UDP);
	skb->cb[0] = sk->family;
	skb->cb[1] = sk->type;
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

SEC("tc/tcp")
int lookup_tcp(struct __sk_buff *skb)
{
	int verdict = TC_ACT_OK;
	struct tuple4 tuple;
	struct bpf_sock *sk;
	struct flow flow;

	if (flow_of(skb, &flow) || flow.protocol != IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	tuple_of(&flow, &tuple);
	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple), F_CURRENT_NETNS, 0);
	if (!sk) {
		count(NONE);
		return TC_ACT_SHOT;
	}
	skb->cb[0] = sk->family;
	skb->cb[1] = sk->state;
	if (sk->state == TCP_LISTEN) {
		count(TCP_SYN_SEEN);
		verdict = TC_ACT_PIPE;
	} else {
		struct bpf_sock *full = bpf_sk_fullsock(sk);

		count(TCP_OPEN);
		if (full) {
			struct bpf_tcp_sock *tcp = bpf_tcp_sock(full);

			skb->cb[2] = tcp != NULL;
		}
	}
	bpf_sk_release(sk);
	return verdict;
}

/* A transparent proxy: the packet is given to the proxy's socket, whatever its address. */
SEC("tc/assign")
int assign(struct __sk_buff *skb)
{
	struct tuple4 tuple = {.dst = htonl(0x7f000001), .dst_port = htons(15001)};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), F_CURRENT_NETNS, 0);
	long error;

	if (!sk)
		return TC_ACT_UNSPEC;
	error = bpf_sk_assign(skb, sk, 0);
	skb->cb[0] = -error;
	if (!error)
		count(ASSIGNED);
	bpf_sk_release(sk);
	return error ? TC_ACT_SHOT : TC_ACT_OK;
}

/* The packet's own socket: what is sent from here has one. */
SEC("tc/own")
int own(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk, *full;
	u64 first = 1, *note;

	if (!sk)
		return TC_ACT_PIPE;
	skb->cb[0] = sk->family;
	full = bpf_sk_fullsock(sk);
	if (!full)
		return TC_ACT_UNSPEC;
	skb->cb[1] = full->type;
	note = bpf_sk_storage_get(&notes, full, &first, 1);
	if (note) {
		*note += skb->len;
		if (*note > 1000000)
			bpf_sk_storage_delete(&notes, full);
	}
	count(OWN);
	return TC_ACT_OK;
}

/* A socket out of a map of sockets. */
SEC("tc/chosen")
int from_map(struct __sk_buff *skb)
{
	u32 slot = skb->mark;
	struct bpf_sock *sk = bpf_map_lookup_elem(&chosen, &slot);
	u32 state;

	if (!sk)
		return TC_ACT_UNSPEC;
	state = sk->state;
	bpf_sk_release(sk);
	return state == TCP_LISTEN ? TC_ACT_OK : TC_ACT_SHOT;
}

/* A tuple of a wrong size has no socket. */
SEC("tc/wrong")
int wrong_size(struct __sk_buff *skb)
{
	u8 tuple[36] = {};
	struct bpf_sock *sk;

	sk = bpf_sk_lookup_udp(skb, tuple, 5, F_CURRENT_NETNS, 0);
	if (sk) {
		bpf_sk_release(sk);
		return TC_ACT_SHOT;
	}
	sk = bpf_sk_lookup_tcp(skb, tuple, sizeof(tuple), F_CURRENT_NETNS, 0);
	if (sk) {
		sk = bpf_get_listener_sock(sk) ? sk : sk;
		bpf_sk_release(sk);
		return TC_ACT_PIPE;
	}
	return TC_ACT_OK;
}

LICENSE("GPL");
