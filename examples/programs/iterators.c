// SPDX-License-Identifier: GPL-2.0-or-later
/* Loops as the kernel gives them: an iterator over numbers (what bpf_for and bpf_repeat are made of). */
#include "helpers.h"
#include "packet.h"

struct bpf_iter_num {
	u64 opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) KSYM;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) KSYM;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) KSYM;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u8[512]);
} scratch SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} bytes SEC(".maps");

/* How often each byte comes in the payload: all of it into memory in one go, then byte by byte. */
SEC("tc/histogram")
int histogram(struct __sk_buff *skb)
{
	u32 zero = 0, length = skb->len, sum = 0;
	u8 *buffer = bpf_map_lookup_elem(&scratch, &zero);
	struct bpf_iter_num it;
	int *at;

	if (!buffer)
		return TC_ACT_SHOT;
	if (length > 512)
		length = 512;
	if (length < 1 || bpf_skb_load_bytes(skb, 0, buffer, length))
		return TC_ACT_PIPE;
	bpf_iter_num_new(&it, 14, length);
	while ((at = bpf_iter_num_next(&it))) {
		u32 index = *at, byte, *count;

		if (index >= 512)
			break;
		byte = buffer[index];
		sum += byte;
		count = bpf_map_lookup_elem(&bytes, &byte);
		if (count)
			*count += 1;
	}
	bpf_iter_num_destroy(&it);
	skb->mark = sum;
	return TC_ACT_OK;
}

/* Ranges that are none, and two loops, one within the other. */
SEC("tc/ranges")
int ranges(struct __sk_buff *skb)
{
	struct bpf_iter_num outer, inner;
	u32 turns = 0;
	int *at;

	skb->cb[0] = -bpf_iter_num_new(&outer, 5, 1);
	skb->cb[1] = bpf_iter_num_next(&outer) != NULL;
	bpf_iter_num_destroy(&outer);
	skb->cb[2] = -bpf_iter_num_new(&outer, -1000000000, 2000000000);
	bpf_iter_num_destroy(&outer);
	bpf_rcu_read_lock();
	bpf_iter_num_new(&outer, -3, skb->len & 7);
	while ((at = bpf_iter_num_next(&outer))) {
		int times = *at;

		bpf_iter_num_new(&inner, 0, times);
		while (bpf_iter_num_next(&inner))
			turns++;
		bpf_iter_num_destroy(&inner);
	}
	bpf_iter_num_destroy(&outer);
	bpf_rcu_read_unlock();
	skb->cb[3] = turns;
	return TC_ACT_OK;
}

LICENSE("GPL");
