// SPDX-License-Identifier: GPL-2.0-or-later
/* Atomic operations in both widths, with and without the old value; the program checks what it got. */
#include "helpers.h"
#include "packet.h"

struct cell {
	u64 wide;
	u32 narrow;
	u32 owner;
	u64 maximum;
	u64 bits;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 2);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct cell);
} cells SEC(".maps");

u64 flags = 0xf0f0;
u32 turns;

SEC("tc")
int atomics(struct __sk_buff *skb)
{
	u32 key = skb->len & 1, len = skb->len;
	struct cell *cell = bpf_map_lookup_elem(&cells, &key);
	u64 largest, before;
	u32 old;

	if (!cell)
		return TC_ACT_SHOT;
	__sync_fetch_and_add(&cell->wide, len);
	__sync_fetch_and_add(&cell->narrow, -len);
	before = __sync_fetch_and_add(&cell->wide, 1ULL << 40);
	skb->cb[0] = before;
	skb->cb[1] = before >> 32;
	old = __sync_fetch_and_add(&turns, 0x40000001);
	skb->cb[2] = old;
	skb->cb[3] = __sync_lock_test_and_set(&cell->owner, len);
	__sync_fetch_and_or(&cell->bits, 1ULL << (len & 63));
	__sync_fetch_and_xor(&cell->bits, 0x8000000000000001ULL);
	before = __sync_fetch_and_and(&flags, ~(u64)len);
	before ^= __sync_fetch_and_or(&flags, 0xff00);
	before += __sync_fetch_and_xor(&flags, 0x0ff0);
	skb->cb[4] = before;
	largest = cell->maximum;
	if (len > largest && __sync_val_compare_and_swap(&cell->maximum, largest, len) != largest)
		return TC_ACT_SHOT;
	old = __sync_val_compare_and_swap(&cell->owner, 60, 61);
	skb->mark = old;
	return old == 60 ? TC_ACT_PIPE : TC_ACT_OK;
}

LICENSE("GPL");
