// SPDX-License-Identifier: GPL-2.0-or-later
/* Tail calls: a dispatcher hands the packet to the program of its protocol, which hands it on.
 *
 * The jump table is filled from its definition.  What the stages agree on travels in `cb`.
 */
#include "helpers.h"
#include "packet.h"

enum stage { STAGE_TCP, STAGE_UDP, STAGE_ICMP, STAGE_COUNT, STAGE_AGAIN, STAGE_NOTHING, STAGES = 8 };
enum { CB_OFFSET, CB_TRAIL, CB_DEPTH };

int stage_tcp(struct __sk_buff *skb);
int stage_udp(struct __sk_buff *skb);
int stage_icmp(struct __sk_buff *skb);
int stage_count(struct __sk_buff *skb);
int stage_again(struct __sk_buff *skb);

struct {
	MAP_UINT(type, MAP_PROG_ARRAY);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(max_entries, STAGES);
	MAP_ARRAY_OF(values, int(void *));
} stages SEC(".maps") = {
	.values = {
		[STAGE_TCP] = (void *)&stage_tcp,
		[STAGE_UDP] = (void *)&stage_udp,
		[STAGE_ICMP] = (void *)&stage_icmp,
		[STAGE_COUNT] = (void *)&stage_count,
		[STAGE_AGAIN] = (void *)&stage_again,
	},
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} trails SEC(".maps");

SEC("tc")
int dispatch(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);

	if (!ip)
		return TC_ACT_UNSPEC;
	skb->cb[CB_OFFSET] = L4_OFFSET;
	skb->cb[CB_TRAIL] = 0;
	skb->cb[CB_DEPTH] = 0;
	switch (ip->protocol) {
	case IPPROTO_TCP:
		bpf_tail_call(skb, &stages, STAGE_TCP);
		break;
	case IPPROTO_UDP:
		bpf_tail_call(skb, &stages, STAGE_UDP);
		break;
	case IPPROTO_ICMP:
		bpf_tail_call(skb, &stages, STAGE_ICMP);
		break;
	}
	bpf_tail_call(skb, &stages, STAGE_NOTHING); /* empty: comes back */
	bpf_tail_call(skb, &stages, STAGES + ip->protocol); /* out of the table: comes back */
	return TC_ACT_PIPE;
}

SEC("tc/stage")
int stage_tcp(struct __sk_buff *skb)
{
	struct tcp tcp;

	if (bpf_skb_load_bytes(skb, skb->cb[CB_OFFSET], &tcp, sizeof(tcp)))
		return TC_ACT_SHOT;
	skb->cb[CB_TRAIL] |= 1 << STAGE_TCP | (u32)tcp.flags << 8;
	bpf_tail_call(skb, &stages, STAGE_COUNT);
	return TC_ACT_SHOT;
}

SEC("tc/stage")
int stage_udp(struct __sk_buff *skb)
{
	skb->cb[CB_TRAIL] |= 1 << STAGE_UDP;
	bpf_tail_call(skb, &stages, STAGE_COUNT);
	return TC_ACT_SHOT;
}

/* Calls itself until the kernel has had enough: 33 tail calls. */
SEC("tc/stage")
int stage_again(struct __sk_buff *skb)
{
	skb->cb[CB_DEPTH] += 1;
	bpf_tail_call(skb, &stages, STAGE_AGAIN);
	skb->mark = skb->cb[CB_DEPTH];
	bpf_tail_call(skb, &stages, STAGE_COUNT);
	return TC_ACT_STOLEN;
}

SEC("tc/stage")
int stage_icmp(struct __sk_buff *skb)
{
	skb->cb[CB_TRAIL] |= 1 << STAGE_ICMP;
	bpf_tail_call(skb, &stages, STAGE_AGAIN);
	return TC_ACT_SHOT;
}

SEC("tc/stage")
int stage_count(struct __sk_buff *skb)
{
	u32 trail = skb->cb[CB_TRAIL] & 0xff;
	u64 *count = bpf_map_lookup_elem(&trails, &trail);

	if (count)
		__sync_fetch_and_add(count, 1);
	skb->tc_index = trail;
	return TC_ACT_OK;
}

LICENSE("GPL");
