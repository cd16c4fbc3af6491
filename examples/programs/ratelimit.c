// SPDX-License-Identifier: GPL-2.0-or-later
/* A token bucket a source address.  Buckets fill with time; a packet takes its length from its bucket. */
#include "helpers.h"
#include "packet.h"

#define NS_PER_SECOND 1000000000ULL

struct limit {
	u64 bytes_per_second;
	u64 burst;
};

struct bucket {
	struct bpf_spin_lock lock;
	u32 dropped;
	u64 tokens;
	u64 filled_at;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct limit);
} limits SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, be32);
	MAP_TYPE(value, struct bucket);
} buckets SEC(".maps");

SEC("tc")
int ratelimit(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	struct bucket *bucket;
	struct limit *limit;
	int verdict;
	u32 zero = 0;
	be32 src;
	u64 now;

	if (!ip)
		return TC_ACT_UNSPEC;
	src = ip->src;
	limit = bpf_map_lookup_elem(&limits, &zero);
	if (!limit || !limit->burst)
		return TC_ACT_OK;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &src);
	if (!bucket) {
		struct bucket fresh = {.tokens = limit->burst, .filled_at = now};

		bpf_map_update_elem(&buckets, &src, &fresh, UPDATE_NOEXIST);
		bucket = bpf_map_lookup_elem(&buckets, &src);
		if (!bucket)
			return TC_ACT_SHOT;
	}
	bpf_spin_lock(&bucket->lock);
	bucket->tokens += (now - bucket->filled_at) * limit->bytes_per_second / NS_PER_SECOND;
	if (bucket->tokens > limit->burst)
		bucket->tokens = limit->burst;
	bucket->filled_at = now;
	if (bucket->tokens >= skb->len) {
		bucket->tokens -= skb->len;
		verdict = TC_ACT_OK;
	} else {
		bucket->dropped += 1;
		verdict = TC_ACT_SHOT;
	}
	bpf_spin_unlock(&bucket->lock);
	return verdict;
}

LICENSE("GPL");
