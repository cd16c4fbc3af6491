// SPDX-License-Identifier: GPL-2.0-or-later
/* Packets made longer and shorter, in front and behind; what cannot be done says why. */
#include "helpers.h"
#include "packet.h"

struct trailer {
	be32 magic;
	be32 mark;
	be32 length;
};

/* A trailer behind the packet, as in-band telemetry adds one. */
SEC("tc/grow")
int add_trailer(struct __sk_buff *skb)
{
	struct trailer trailer = {htonl(0x7e1e7e1e), htonl(skb->mark), htonl(skb->len)};
	u32 len = skb->len;

	if (bpf_skb_change_tail(skb, len + sizeof(trailer), 0))
		return TC_ACT_SHOT;
	skb->cb[0] = skb->len;
	if (bpf_skb_store_bytes(skb, len, &trailer, sizeof(trailer), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc/cut")
int cut(struct __sk_buff *skb)
{
	skb->cb[0] = -bpf_skb_change_tail(skb, 20, 0);
	skb->cb[1] = skb->len;
	skb->cb[2] = -bpf_skb_change_tail(skb, 10, 0); /* less than a link-layer header */
	skb->cb[3] = -bpf_skb_change_tail(skb, skb->len, 1); /* a flag that is none */
	skb->cb[4] = skb->len;
	return TC_ACT_OK;
}

/* A new link-layer header in front, as for a device that had none. */
SEC("tc/head")
int new_head(struct __sk_buff *skb)
{
	struct eth header = {
		.dst = {0x02, 0, 0, 0, 0, 0x10}, .src = {0x02, 0, 0, 0, 0, 0x20}, .type = htons(ETH_P_IP)};
	struct eth *eth;

	if (bpf_skb_change_head(skb, sizeof(header), 0))
		return TC_ACT_SHOT;
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	*eth = header;
	skb->cb[0] = skb->len;
	skb->cb[1] = -bpf_skb_change_head(skb, 70000, 0);
	skb->cb[2] = -bpf_skb_change_head(skb, 2, 5);
	return TC_ACT_OK;
}

/* Room in the middle, given back again: the packet is what it was. */
SEC("tc/room")
int there_and_back(struct __sk_buff *skb)
{
	u32 before = skb->len;

	skb->cb[0] = -bpf_skb_adjust_room(skb, 8, ADJ_ROOM_MAC, F_ADJ_ROOM_FIXED_GSO);
	skb->cb[1] = skb->len - before;
	skb->cb[2] = -bpf_skb_adjust_room(skb, -8, ADJ_ROOM_MAC, F_ADJ_ROOM_FIXED_GSO);
	skb->cb[3] = -bpf_skb_adjust_room(skb, -(s32)before, ADJ_ROOM_MAC, 0);
	skb->cb[4] = -bpf_skb_adjust_room(skb, 4, 7, 0);
	return skb->len == before ? TC_ACT_OK : TC_ACT_PIPE;
}

/* All of a packet where direct access can reach it; more than there is cannot be had. */
SEC("tc/pull")
int pull(struct __sk_buff *skb)
{
	u8 *first, *last;

	skb->cb[0] = -bpf_skb_pull_data(skb, 0);
	skb->cb[1] = -bpf_skb_pull_data(skb, skb->len + 1);
	skb->cb[2] = -bpf_skb_pull_data(skb, skb->len);
	first = DATA(skb);
	if ((void *)(first + 60) > DATA_END(skb))
		return TC_ACT_PIPE;
	last = first + 59;
	first[0] ^= *last;
	return TC_ACT_OK;
}

LICENSE("GPL");
