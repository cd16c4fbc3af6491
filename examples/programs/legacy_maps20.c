// SPDX-License-Identifier: GPL-2.0-or-later
/* cpu: v2
 * Map definitions of 20 bytes, the form of libbpf before version 1: no ids, no pinning.
 */
#include "helpers.h"
#include "packet.h"

struct map_def {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
};

struct map_def SEC("maps") lengths = {
	.type = MAP_HASH,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 128,
};

struct map_def SEC("maps") recent = {
	.type = MAP_LRU_HASH,
	.key_size = sizeof(u64),
	.value_size = sizeof(u32),
	.max_entries = 64,
};

SEC("tc")
int legacy_maps20(struct __sk_buff *skb)
{
	struct eth *eth = DATA(skb);
	u64 source = 0, one = 1, *packets;
	u32 length = skb->len;

	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	memcpy(&source, eth->src, sizeof(eth->src));
	packets = bpf_map_lookup_elem(&lengths, &length);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&lengths, &length, &one, UPDATE_ANY);
	bpf_map_update_elem(&recent, &source, &length, UPDATE_ANY);
	return TC_ACT_OK;
}

LICENSE("GPL");
