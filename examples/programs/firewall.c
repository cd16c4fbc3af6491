// SPDX-License-Identifier: GPL-2.0-or-later
/* A firewall by address prefixes: the longest prefix that covers the source says what happens.
 *
 * Prefix rules for IPv4 and IPv6 in LPM tries; what no rule covers passes.  Each verdict is counted.
 */
#include "helpers.h"
#include "packet.h"

struct rule {
	u32 action; /* 0 pass, 1 drop, 2 mark */
	u32 mark;
};

struct prefix4 {
	u32 bits;
	be32 address;
};

struct prefix6 {
	u32 bits;
	be32 address[4];
};

struct {
	MAP_UINT(type, MAP_LPM_TRIE);
	MAP_UINT(max_entries, 1024);
	MAP_UINT(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, struct prefix4);
	MAP_TYPE(value, struct rule);
} rules4 SEC(".maps");

struct {
	MAP_UINT(type, MAP_LPM_TRIE);
	MAP_UINT(max_entries, 1024);
	MAP_UINT(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, struct prefix6);
	MAP_TYPE(value, struct rule);
} rules6 SEC(".maps");

enum { PASSED, DROPPED, MARKED, OTHER, VERDICTS };

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, VERDICTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} verdicts SEC(".maps");

INLINE void count(u32 verdict)
{
	u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);

	if (packets)
		*packets += 1;
}

SEC("tc")
int firewall(struct __sk_buff *skb)
{
	struct eth *eth = DATA(skb);
	void *end = DATA_END(skb);
	struct rule *rule;

	if ((void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	if (eth->type == htons(ETH_P_IP)) {
		struct ipv4 *ip = (void *)(eth + 1);
		struct prefix4 key = {.bits = 32};

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		key.address = ip->src;
		rule = bpf_map_lookup_elem(&rules4, &key);
	} else if (eth->type == htons(ETH_P_IPV6)) {
		struct ipv6 *ip = (void *)(eth + 1);
		struct prefix6 key = {.bits = 128};

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		memcpy(key.address, ip->src, sizeof(key.address));
		rule = bpf_map_lookup_elem(&rules6, &key);
	} else {
		count(OTHER);
		return TC_ACT_UNSPEC;
	}
	if (rule && rule->action == 1) {
		count(DROPPED);
		return TC_ACT_SHOT;
	}
	if (rule && rule->action == 2) {
		skb->mark = rule->mark;
		count(MARKED);
	} else {
		count(PASSED);
	}
	return TC_ACT_OK;
}

LICENSE("GPL");
