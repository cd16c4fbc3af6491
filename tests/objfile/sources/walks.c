/* Loops of every kind: how far the verifier goes round in each is compared with the kernel. */
#include "bpf.h"

struct sum {
	u64 total;
	u32 mixed;
	struct __sk_buff *skb;
};

static int counting(u32 i, struct sum *sum)
{
	sum->mixed ^= sum->skb->len;
	sum->total++;
	return sum->total > 100000;
}

/* The callback counts what is known from the start: it is called as often as it can be, and not again. */
SEC("tc") int known_count(struct __sk_buff *skb)
{
	struct sum sum = {.total = 256, .mixed = skb->mark, .skb = skb};
	long times = bpf_loop(20, counting, &sum, 0);

	return times + sum.total + sum.mixed;
}

static int mixing(u32 i, struct sum *sum)
{
	sum->total = sum->total * 33 ^ i;
	if (i > sum->mixed)
		return 1;
	return sum->total > 100000;
}

SEC("tc") int unknown_count(struct __sk_buff *skb)
{
	struct sum sum = {.total = skb->len, .mixed = skb->mark, .skb = skb};
	long times = bpf_loop(skb->len, mixing, &sum, 0);

	return times + sum.total + sum.mixed;
}

SEC("tc") int one_after_the_other(struct __sk_buff *skb)
{
	struct sum sum = {.total = skb->len, .mixed = skb->mark, .skb = skb};
	long times = bpf_loop(1000, mixing, &sum, 0);

	sum.total = 7;
	times ^= bpf_loop(20, counting, &sum, 0);
	return times + sum.total + sum.mixed;
}

SEC("tc") int never(struct __sk_buff *skb)
{
	struct sum sum = {.skb = skb};

	return bpf_loop(0, counting, &sum, 0);
}

char LICENSE[] SEC("license") = "GPL";
