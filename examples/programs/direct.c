// SPDX-License-Identifier: GPL-2.0-or-later
/* Direct packet access in the forms compilers and people write it: every comparison, both ways round,
 * constant and variable offsets, all widths, reads and writes, data_meta.
 */
#include "helpers.h"
#include "packet.h"

SEC("tc/bounds")
int bounds(struct __sk_buff *skb)
{
	u8 *data = DATA(skb), *end = DATA_END(skb);
	u64 sum = 0;

	if (data + 14 <= end)
		sum += data[13];
	if (end >= data + 16)
		sum += *(be16 *)(data + 14) * 3;
	if (data + 19 < end)
		sum += *(be32 *)(data + 16) * 5ULL;
	if (end > data + 27)
		sum += *(u64 *)(data + 20) * 7;
	if (!(data + 34 > end))
		sum += (s8)data[33];
	if (!(end < data + 42))
		sum += *(s16 *)(data + 40);
	skb->cb[0] = sum;
	skb->cb[1] = sum >> 32;
	skb->cb[2] = end - data;
	skb->cb[3] = DATA_META(skb) == DATA(skb);
	return TC_ACT_OK;
}

/* The IPv4 header's length varies; so does where the next header is. */
SEC("tc/options")
int behind_options(struct __sk_buff *skb)
{
	void *data = DATA(skb), *end = DATA_END(skb);
	struct ipv4 *ip = data + sizeof(struct eth);
	struct udp *udp;
	u32 length;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return TC_ACT_UNSPEC;
	length = ip->ihl * 4;
	if (length < sizeof(*ip))
		return TC_ACT_SHOT;
	udp = (void *)ip + length;
	if ((void *)(udp + 1) > end)
		return TC_ACT_PIPE;
	skb->cb[0] = ntohs(udp->src);
	skb->cb[1] = ntohs(udp->dst);
	skb->mark = length;
	return TC_ACT_OK;
}

/* Writes of all widths, then reads of what was written. */
SEC("tc/write")
int write(struct __sk_buff *skb)
{
	u8 *data = DATA(skb), *end = DATA_END(skb);

	if (data + 54 > end)
		return TC_ACT_SHOT;
	data[0] = 0x12;
	*(u16 *)(data + 2) = 0x3456;
	*(u32 *)(data + 6) ^= 0xffffffff;
	*(u64 *)(data + 14) = bpf_ktime_get_ns() ? 0x1122334455667788ULL : 0;
	data[30] += data[31];
	skb->cb[0] = *(u32 *)data;
	skb->cb[1] = *(u32 *)(data + 17);
	return TC_ACT_OK;
}

/* A TCP option found by walking: offsets that the verifier follows through a loop. */
SEC("tc/mss")
int find_mss(struct __sk_buff *skb)
{
	void *end = DATA_END(skb);
	struct ipv4 *ip = ipv4_header(skb);
	struct tcp *tcp;
	u32 offset, limit;
	int verdict = TC_ACT_PIPE;

	if (!ip || ip->protocol != IPPROTO_TCP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end || !(tcp->flags & TCP_SYN))
		return TC_ACT_UNSPEC;
	offset = sizeof(*tcp);
	limit = tcp->words * 4;
	for (int i = 0; i < 20 && offset < limit; i++) {
		u32 step = 1;
		u8 *option;

		option = (u8 *)tcp + (offset & 63);
		if ((void *)(option + 4) > end || option[0] == 0)
			break;
		if (option[0] == 2) {
			skb->mark = option[2] << 8 | option[3];
			verdict = TC_ACT_OK;
			break;
		}
		if (option[0] != 1)
			step = option[1];
		if (step == 0)
			verdict = TC_ACT_SHOT;
		offset += step;
	}
	return verdict;
}

LICENSE("GPL");
