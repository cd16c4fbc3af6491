// SPDX-License-Identifier: GPL-2.0-or-later
/* cpu: v1
 * iproute2's own form: map definitions of 36 bytes, tail calls by the names of sections (`id/slot`), a map
 * in a map by ids.
 */
#include "helpers.h"
#include "packet.h"

/* struct bpf_elf_map */
struct elf_map {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
	u32 id;
	u32 pinning;
	u32 inner_id;
	u32 inner_index;
};

#define JUMPS 7

struct elf_map SEC("maps") jumps = {
	.type = MAP_PROG_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u32),
	.max_entries = 4,
	.id = JUMPS,
};

struct elf_map SEC("maps") counters = {
	.type = MAP_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 8,
	.id = 11,
	.inner_index = 0,
};

struct elf_map SEC("maps") tables = {
	.type = MAP_ARRAY_OF_MAPS,
	.key_size = sizeof(u32),
	.value_size = sizeof(u32),
	.max_entries = 2,
	.inner_id = 11,
};

INLINE void count(u32 slot)
{
	u32 zero = 0;
	void *table = bpf_map_lookup_elem(&tables, &zero);
	u64 *packets = bpf_map_lookup_elem(table ? &counters : &counters, &slot);

	if (packets)
		__sync_fetch_and_add(packets, table ? 1 << 16 : 1);
}

SEC("7/0")
int tail_ip(struct __sk_buff *skb)
{
	count(0);
	skb->cb[0] += skb->len;
	bpf_tail_call(skb, &jumps, 2);
	return TC_ACT_SHOT;
}

SEC("7/1")
int tail_other(struct __sk_buff *skb)
{
	count(1);
	skb->cb[0] = 0xffff;
	bpf_tail_call(skb, &jumps, 3); /* nobody */
	return TC_ACT_PIPE;
}

SEC("7/2")
int tail_last(struct __sk_buff *skb)
{
	count(2);
	skb->tc_classid = 0x10000 | (skb->cb[0] & 0xff);
	return TC_ACT_OK;
}

SEC("classifier")
int legacy_tails(struct __sk_buff *skb)
{
	skb->cb[0] = 0;
	bpf_tail_call(skb, &jumps, skb->protocol == htons(ETH_P_IP) ? 0 : 1);
	count(7);
	return TC_ACT_UNSPEC;
}

LICENSE("GPL");
