// SPDX-License-Identifier: GPL-2.0-or-later
/* cpu: v1
 * Maps as programs defined them before BTF: a section `maps` of structures of 28 bytes.
 */
#include "helpers.h"
#include "packet.h"

struct map_def {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
	u32 id;
	u32 pinning;
};

struct map_def SEC("maps") packets_by_protocol = {
	.type = MAP_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 256,
};

struct map_def SEC("maps") blocked_ports = {
	.type = MAP_HASH,
	.key_size = sizeof(be16),
	.value_size = sizeof(u32),
	.max_entries = 64,
	.flags = MAP_NO_PREALLOC,
};

struct map_def SEC("maps") bytes_by_source = {
	.type = MAP_PERCPU_HASH,
	.key_size = sizeof(be32),
	.value_size = sizeof(u64),
	.max_entries = 512,
};

SEC("classifier")
int legacy_maps(struct __sk_buff *skb)
{
	u64 *count, bytes = skb->len;
	struct flow flow;
	u32 *blocked;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	count = bpf_map_lookup_elem(&packets_by_protocol, &flow.protocol);
	if (count)
		__sync_fetch_and_add(count, 1);
	count = bpf_map_lookup_elem(&bytes_by_source, &flow.src);
	if (count)
		*count += bytes;
	else
		bpf_map_update_elem(&bytes_by_source, &flow.src, &bytes, UPDATE_NOEXIST);
	blocked = bpf_map_lookup_elem(&blocked_ports, &flow.dst_port);
	if (blocked) {
		__sync_fetch_and_add(blocked, 1);
		return TC_ACT_SHOT;
	}
	return TC_ACT_OK;
}

LICENSE("GPL");
