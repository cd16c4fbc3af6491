// SPDX-License-Identifier: GPL-2.0-or-later
/* A pool of source ports: taken from a queue, given back to it; a stack remembers who came last. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_QUEUE);
	MAP_UINT(key_size, 0);
	MAP_UINT(value_size, sizeof(u32));
	MAP_UINT(max_entries, 8);
} pool SEC(".maps");

struct {
	MAP_UINT(type, MAP_STACK);
	MAP_UINT(key_size, 0);
	MAP_UINT(value_size, sizeof(struct flow));
	MAP_UINT(max_entries, 4);
} recent SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, u32);
} taken SEC(".maps");

SEC("tc/take")
int take_port(struct __sk_buff *skb)
{
	struct flow flow, top = {};
	u32 *held, port = 0;
	long error;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	held = bpf_map_lookup_elem(&taken, &flow);
	if (held) {
		skb->mark = *held;
		return TC_ACT_OK;
	}
	skb->cb[0] = -bpf_map_peek_elem(&pool, &port);
	skb->cb[1] = port;
	error = bpf_map_pop_elem(&pool, &port);
	if (error) {
		skb->cb[2] = -error;
		return TC_ACT_SHOT;
	}
	bpf_map_update_elem(&taken, &flow, &port, UPDATE_ANY);
	skb->cb[3] = -bpf_map_push_elem(&recent, &flow, UPDATE_EXIST); /* the oldest goes when it is full */
	if (!bpf_map_peek_elem(&recent, &top))
		skb->cb[4] = top.src;
	skb->mark = port;
	return TC_ACT_OK;
}

SEC("tc/give")
int give_port(struct __sk_buff *skb)
{
	struct flow flow;
	u32 port, *held;

	if (bpf_map_pop_elem(&recent, &flow))
		return TC_ACT_PIPE;
	held = bpf_map_lookup_elem(&taken, &flow);
	if (!held)
		return TC_ACT_SHOT;
	port = *held;
	bpf_map_delete_elem(&taken, &flow);
	skb->mark = port;
	return bpf_map_push_elem(&pool, &port, UPDATE_ANY) ? TC_ACT_STOLEN : TC_ACT_OK;
}

LICENSE("GPL");
