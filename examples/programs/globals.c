// SPDX-License-Identifier: GPL-2.0-or-later
/* Global variables of every kind: settings that user space fills in before loading, state, tables. */
#include "helpers.h"
#include "packet.h"

struct stats {
	u64 packets;
	u64 bytes;
	u32 by_type[4];
};

const volatile u32 sample_every = 3;
const volatile u32 mark_base = 0x100;
const volatile u8 allowed_ttl[2] = {1, 255};
static const char names[4][8] = {"host", "bcast", "mcast", "other"};

u32 countdown = 2;
s64 balance = -5000;
static struct {
	u16 low, high;
} ports = {1024, 65535};

struct stats stats;
u64 sampled;
static u32 last_lengths[8];

u32 tuned SEC(".data.tuning") = 77;
u64 rare;
const volatile u64 limits[2] SEC(".rodata.limits") = {60, 1514};

SEC("tc")
int globals(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	u32 len = skb->len;
	struct flow flow;

	stats.packets++;
	stats.bytes += len;
	stats.by_type[skb->pkt_type & 3]++;
	last_lengths[stats.packets & 7] = len;
	skb->cb[0] = names[skb->pkt_type & 3][0];
	skb->cb[1] = last_lengths[(stats.packets - 1) & 7];
	balance += len;
	if (len < limits[0] || len > limits[1])
		rare++;
	if (!--countdown) {
		countdown = sample_every;
		sampled++;
		skb->mark = mark_base + tuned++;
	}
	if (ip && (ip->ttl < allowed_ttl[0] || ip->ttl > allowed_ttl[1]))
		return TC_ACT_SHOT;
	if (!flow_of(skb, &flow) && flow.dst_port && ntohs(flow.dst_port) < ports.low)
		ports.high = ntohs(flow.dst_port);
	skb->tc_index = ports.high;
	return balance > 0 ? TC_ACT_OK : TC_ACT_PIPE;
}

LICENSE("GPL");
