// SPDX-License-Identifier: GPL-2.0-or-later
/* Subprograms: static ones are verified where they are called, global ones on their own. */
#include "helpers.h"
#include "packet.h"

/* Five arguments and a frame of its own. */
NOINLINE static u64 polynomial(u64 x, u64 a, u64 b, u64 c, u64 d)
{
	u64 powers[4] = {1, x, x * x, x * x * x};

	opaque(powers[0]);
	return a * powers[0] + b * powers[1] + c * powers[2] + d * powers[3];
}

/* Depth is bounded: 8 frames in all. */
NOINLINE static u32 nest5(u32 x)
{
	return x * 3 + bpf_get_smp_processor_id() * 0;
}

NOINLINE static u32 nest4(u32 x)
{
	return nest5(x + 4) ^ 4;
}

NOINLINE static u32 nest3(u32 x)
{
	return nest4(x + 3) + nest5(x);
}

NOINLINE static u32 nest2(u32 x)
{
	volatile u8 frame[40];

	frame[x & 31] = x;
	return nest3(x + 2) + frame[x & 31];
}

/* A pointer to the caller's stack. */
NOINLINE static int parse(struct __sk_buff *skb, struct flow *flow)
{
	return flow_of(skb, flow);
}

/* Global: any number, and memory that may not be there. */
NOINLINE int weigh(u32 length, const struct flow *flow)
{
	if (!flow)
		return -1;
	return length + ntohs(flow->dst_port) + flow->protocol * 1000;
}

/* Global, with the context. */
NOINLINE int set_priority(struct __sk_buff *skb, u32 priority)
{
	u32 before = skb->priority;

	skb->priority = priority;
	return before;
}

/* Global, and it changes the packet: the caller's packet pointers are void afterwards. */
NOINLINE int trim(struct __sk_buff *skb, u32 length)
{
	if (length < 14)
		return -1;
	return bpf_skb_change_tail(skb, length, 0);
}

SEC("tc")
int subprograms(struct __sk_buff *skb)
{
	struct flow flow;
	struct eth *eth;

	if (parse(skb, &flow))
		return TC_ACT_UNSPEC;
	skb->cb[0] = polynomial(skb->len, 7, 5, 3, 1);
	skb->cb[1] = nest2(skb->len);
	skb->cb[2] = weigh(skb->len, &flow);
	skb->cb[3] = set_priority(skb, skb->cb[2] & 7);
	skb->cb[4] = weigh(1, NULL);
	if (skb->len > 100 && trim(skb, 100))
		return TC_ACT_SHOT;
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	eth->src[5] ^= 0xff;
	return TC_ACT_OK;
}

LICENSE("GPL");
