// SPDX-License-Identifier: GPL-2.0-or-later
/* Is what a TCP segment carries what was sent?  Its checksum, over all of it, sixteen bytes a round. */
#include "helpers.h"
#include "packet.h"

#define ROUNDS 128
#define STEP 16

struct sum {
	struct __sk_buff *skb;
	u64 total;
	u32 at;
	u32 end;
};

static long add_up(u32 round, void *context)
{
	struct sum *sum = context;
	u32 words[STEP / 4] = {};
	u32 left = sum->end - sum->at, i;

	(void)round;
	if (left >= STEP) {
		if (bpf_skb_load_bytes(sum->skb, sum->at, words, STEP))
			return 1;
	} else {
		if (!left || bpf_skb_load_bytes(sum->skb, sum->at, words, left))
			return 1;
		left = 0;
	}
	for (i = 0; i < STEP / 4; i++)
		sum->total += words[i];
	sum->at += STEP;
	return !left;
}

SEC("tc")
int payload(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	struct sum sum = {.skb = skb, .at = L4_OFFSET};
	u32 length;

	if (!ip || ip->protocol != IPPROTO_TCP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	length = ntohs(ip->total_len) - sizeof(*ip);
	if (length < sizeof(struct tcp) || length > ROUNDS * STEP)
		return TC_ACT_UNSPEC;
	sum.end = sum.at + length;
	sum.total = (u64)ip->src + ip->dst + htons(IPPROTO_TCP) + htons(length);
	skb->cb[0] = bpf_loop(ROUNDS, add_up, &sum, 0);
	skb->cb[1] = csum_fold(sum.total);
	return skb->cb[1] ? TC_ACT_SHOT : TC_ACT_OK;
}

LICENSE("GPL");
