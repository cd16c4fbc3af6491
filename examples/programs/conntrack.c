// SPDX-License-Identifier: GPL-2.0-or-later
/* Connection tracking in an LRU table: replies pass, strangers do not, closed connections go. */
#include "helpers.h"
#include "packet.h"

enum state { SYN_SENT = 1, ESTABLISHED, CLOSING, STATELESS };

struct connection {
	u32 state;
	u32 packets[2]; /* by direction */
	u32 unused;
};

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, struct connection);
} connections SEC(".maps");

INLINE void reverse(struct flow *flow)
{
	be32 address = flow->src;
	be16 port = flow->src_port;

	flow->src = flow->dst;
	flow->dst = address;
	flow->src_port = flow->dst_port;
	flow->dst_port = port;
}

INLINE u8 tcp_flags(struct __sk_buff *skb)
{
	u8 flags = 0;

	bpf_skb_load_bytes(skb, L4_OFFSET + offset_of(struct tcp, flags), &flags, sizeof(flags));
	return flags;
}

INLINE u32 next_state(u32 state, u8 flags, int reply)
{
	if (state == STATELESS)
		return state;
	if (flags & (TCP_FIN | TCP_RST))
		return CLOSING;
	if (state == SYN_SENT && reply && (flags & TCP_ACK))
		return ESTABLISHED;
	return state;
}

SEC("classifier/out")
int track_out(struct __sk_buff *skb)
{
	struct connection *connection, fresh = {};
	struct flow flow;
	u8 flags;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	flags = flow.protocol == IPPROTO_TCP ? tcp_flags(skb) : 0;
	connection = bpf_map_lookup_elem(&connections, &flow);
	if (connection) {
		connection->state = next_state(connection->state, flags, 0);
		connection->packets[0] += 1;
		return TC_ACT_OK;
	}
	fresh.state = flow.protocol == IPPROTO_TCP ? SYN_SENT : STATELESS;
	fresh.packets[0] = 1;
	bpf_map_update_elem(&connections, &flow, &fresh, UPDATE_ANY);
	return TC_ACT_OK;
}

SEC("classifier/in")
int track_in(struct __sk_buff *skb)
{
	struct connection *connection;
	struct flow flow;
	u8 flags;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	flags = flow.protocol == IPPROTO_TCP ? tcp_flags(skb) : 0;
	reverse(&flow);
	connection = bpf_map_lookup_elem(&connections, &flow);
	if (!connection)
		return TC_ACT_SHOT;
	connection->packets[1] += 1;
	connection->state = next_state(connection->state, flags, 1);
	if (flags & TCP_RST)
		bpf_map_delete_elem(&connections, &flow);
	return TC_ACT_OK;
}

LICENSE("GPL");
