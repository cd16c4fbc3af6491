// SPDX-License-Identifier: GPL-2.0-or-later
/* A tap: a copy of what interests goes to another device, the packet goes on. */
#include "helpers.h"
#include "packet.h"

struct tap {
	u32 ifindex;
	be16 port; /* 0: any */
	u16 truncate; /* 0: all of it */
	u64 flags;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct tap);
} taps SEC(".maps");

u64 copies;
u64 failures;

SEC("tc")
int mirror(struct __sk_buff *skb)
{
	struct tap *tap;
	struct flow flow;
	u32 zero = 0;
	long error;

	tap = bpf_map_lookup_elem(&taps, &zero);
	if (!tap || !tap->ifindex || flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	if (tap->port && tap->port != flow.src_port && tap->port != flow.dst_port)
		return TC_ACT_OK;
	error = bpf_clone_redirect(skb, tap->ifindex, tap->flags);
	if (error)
		failures++;
	else
		copies++;
	skb->cb[0] = -error;
	if (tap->truncate && skb->len > tap->truncate)
		bpf_skb_change_tail(skb, tap->truncate, 0);
	return TC_ACT_PIPE;
}

LICENSE("GPL");
