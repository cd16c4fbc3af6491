// SPDX-License-Identifier: GPL-2.0-or-later
/* Tail calls out of subprograms: the callee takes the subprogram's place, and returns to the caller. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_PROG_ARRAY);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(value_size, sizeof(u32));
	MAP_UINT(max_entries, 4);
} calls SEC(".maps");

u32 returned;
u32 visited;

NOINLINE static int classify_length(struct __sk_buff *skb)
{
	u32 class = skb->len > 128;
	int none = 100;

	bpf_tail_call(skb, &calls, class);
	opaque(none); /* the compiler does not know that a tail call returns something else */
	return none;
}

NOINLINE static int twice(struct __sk_buff *skb)
{
	int first = classify_length(skb);

	skb->cb[0] = first;
	return first + classify_length(skb);
}

SEC("tc")
int deep(struct __sk_buff *skb)
{
	int result = twice(skb);

	returned += 1;
	skb->mark = result;
	return result;
}

SEC("tc/short")
int deep_short(struct __sk_buff *skb)
{
	visited += 1;
	skb->priority += skb->len;
	return 3;
}

LICENSE("GPL");
