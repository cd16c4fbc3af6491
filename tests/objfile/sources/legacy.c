/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Maps as iproute2 had them (struct bpf_elf_map, 36 bytes): ids, pinning, an inner map, and tail calls by
 * the names of sections.
 */
#include "bpf.h"

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct bpf_elf_map SEC("maps") jumps = {
	.type = BPF_MAP_TYPE_PROG_ARRAY, .size_key = 4, .size_value = 4, .max_elem = 4, .id = 2,
};

struct bpf_elf_map SEC("maps") counters = {
	.type = BPF_MAP_TYPE_HASH, .size_key = 4, .size_value = 8, .max_elem = 100, .flags = 1, .pinning = 2,
};

struct bpf_elf_map SEC("maps") inner = {
	.type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 16, .max_elem = 3, .id = 42, .inner_idx = 1,
};

struct bpf_elf_map SEC("maps") outer = {
	.type = BPF_MAP_TYPE_ARRAY_OF_MAPS, .size_key = 4, .size_value = 4, .max_elem = 2, .inner_id = 42,
};

SEC("classifier")
int cls_main(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&counters, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	bpf_tail_call(skb, &jumps, 1);
	return bpf_map_lookup_elem(&outer, &key) != 0;
}

SEC("2/1")
int cls_one(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 3);
	return -1;
}

SEC("2/0x3")
int cls_three(struct __sk_buff *skb)
{
	return skb->len;
}

char _license[] SEC("license") = "GPL";
