// SPDX-License-Identifier: GPL-2.0-or-later
/* Traffic accounting without locks: packets and bytes a flow, a CPU at a time. */
#include "helpers.h"
#include "packet.h"

struct counters {
	u64 packets;
	u64 bytes;
	u32 smallest;
	u32 largest;
};

struct {
	MAP_UINT(type, MAP_PERCPU_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, struct counters);
} flows SEC(".maps");

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counters);
} protocols SEC(".maps");

struct {
	MAP_UINT(type, MAP_LRU_PERCPU_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, be32);
	MAP_TYPE(value, u64);
} talkers SEC(".maps");

INLINE void add(struct counters *counters, u32 bytes)
{
	counters->packets += 1;
	counters->bytes += bytes;
	if (!counters->smallest || bytes < counters->smallest)
		counters->smallest = bytes;
	if (bytes > counters->largest)
		counters->largest = bytes;
}

SEC("tc")
int account(struct __sk_buff *skb)
{
	struct counters *counters;
	u32 bytes = skb->len;
	struct flow flow;
	u64 *sent;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	counters = bpf_map_lookup_elem(&protocols, &flow.protocol);
	if (counters)
		add(counters, bytes);
	counters = bpf_map_lookup_elem(&flows, &flow);
	if (counters) {
		add(counters, bytes);
	} else {
		struct counters first = {};

		add(&first, bytes);
		bpf_map_update_elem(&flows, &flow, &first, UPDATE_ANY);
	}
	sent = bpf_map_lookup_elem(&talkers, &flow.src);
	if (sent) {
		*sent += bytes;
	} else {
		u64 first = bytes;

		bpf_map_update_elem(&talkers, &flow.src, &first, UPDATE_NOEXIST);
	}
	return TC_ACT_PIPE;
}

/* What all CPUs together counted for UDP: as many reads as the kernel allows CPUs here. */
SEC("tc/total")
int total(struct __sk_buff *skb)
{
	u32 protocol = IPPROTO_UDP;
	u64 packets = 0;

	for (u32 cpu = 0; cpu < 64; cpu++) {
		struct counters *counters = bpf_map_lookup_percpu_elem(&protocols, &protocol, cpu);

		if (!counters)
			break;
		packets += counters->packets;
	}
	skb->mark = packets;
	return TC_ACT_OK;
}

LICENSE("GPL");
