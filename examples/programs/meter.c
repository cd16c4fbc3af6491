// SPDX-License-Identifier: GPL-2.0-or-later
/* A policer without locks: each CPU has a token bucket for a class of traffic.  What is too much is dropped,
 * with a line that says of whom.
 */
#include "helpers.h"
#include "packet.h"

#define CLASSES 8
#define NS_PER_SECOND 1000000000ULL

struct limit {
	u64 bytes_per_second;
	u64 burst;
};

struct bucket {
	u64 tokens;
	u64 filled_at;
	u64 dropped;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, CLASSES);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct limit);
} limits SEC(".maps");

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, CLASSES);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct bucket);
} buckets SEC(".maps");

static const char format[] = "drop %pI4:%u > %pI4:%u class %d len %u total %llu\n";

SEC("tc")
int meter(struct __sk_buff *skb)
{
	u32 class = skb->priority & (CLASSES - 1);
	struct bucket *bucket;
	struct limit *limit;
	struct flow flow;
	u64 now, tokens;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	limit = bpf_map_lookup_elem(&limits, &class);
	bucket = bpf_map_lookup_elem(&buckets, &class);
	if (!limit || !bucket || !limit->burst)
		return TC_ACT_OK;
	now = bpf_ktime_get_ns();
	tokens = limit->burst;
	if (bucket->filled_at) {
		tokens = bucket->tokens + (now - bucket->filled_at) / 1000 * limit->bytes_per_second / 1000000;
		if (tokens > limit->burst)
			tokens = limit->burst;
	}
	bucket->filled_at = now;
	if (tokens >= skb->len) {
		bucket->tokens = tokens - skb->len;
		return TC_ACT_OK;
	}
	bucket->tokens = tokens;
	bucket->dropped++;
	u64 args[] = {
		(u64)(long)&flow.src, ntohs(flow.src_port), (u64)(long)&flow.dst, ntohs(flow.dst_port),
		class, skb->len, bucket->dropped,
	};
	skb->cb[0] = bpf_trace_vprintk(format, sizeof(format), args, sizeof(args));
	return TC_ACT_SHOT;
}

LICENSE("GPL");
