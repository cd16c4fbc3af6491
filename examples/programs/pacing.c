// SPDX-License-Identifier: GPL-2.0-or-later
/* Earliest departure time: instead of queueing, give each packet of a class the time it may leave.
 *
 * The `fq` qdisc holds a packet until its `tstamp`.  A class that is too far ahead loses its packets.
 */
#include "helpers.h"
#include "packet.h"

#define NS_PER_SECOND 1000000000ULL

struct class {
	u64 bytes_per_second;
	u64 horizon; /* ns */
	u64 next; /* when the class may send again */
	u64 now; /* 0: the clock's */
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct class);
} classes SEC(".maps");

SEC("tc/egress")
int pace(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	struct class *class = bpf_map_lookup_elem(&classes, &mark);
	u64 now, delay, start;

	if (!class || !class->bytes_per_second)
		return TC_ACT_OK;
	now = class->now ? class->now : bpf_ktime_get_ns();
	delay = skb->wire_len * NS_PER_SECOND / class->bytes_per_second;
	start = class->next > now ? class->next : now;
	if (start - now > class->horizon)
		return TC_ACT_SHOT;
	class->next = start + delay;
	if (start > skb->tstamp)
		skb->tstamp = start;
	return TC_ACT_OK;
}

/* The same time, set with its clock named (1: monotonic). */
SEC("tc/egress")
int pace_named_clock(struct __sk_buff *skb)
{
	u64 start = skb->tstamp;

	if (bpf_skb_set_tstamp(skb, start + 1000, 1))
		return TC_ACT_OK;
	return skb->tstamp_type == 1 && skb->tstamp == start + 1000 ? TC_ACT_PIPE : TC_ACT_SHOT;
}

LICENSE("GPL");
