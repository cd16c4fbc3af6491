// SPDX-License-Identifier: GPL-2.0-or-later
/* VLAN tags as tc programs handle them: pushed, popped, translated, stacked. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, u16);
	MAP_TYPE(value, u16);
} translations SEC(".maps");

/* The tag goes where the kernel keeps it: into the metadata. */
SEC("tc/push")
int vlan_push(struct __sk_buff *skb)
{
	u16 tci = 0x2000 | (skb->mark & 0xfff);

	if (bpf_skb_vlan_push(skb, htons(ETH_P_8021Q), tci))
		return TC_ACT_SHOT;
	skb->cb[0] = skb->vlan_present;
	skb->cb[1] = skb->vlan_tci;
	skb->cb[2] = skb->vlan_proto;
	skb->cb[3] = skb->protocol;
	skb->cb[4] = skb->len;
	return TC_ACT_OK;
}

/* A provider's tag around the customer's: the first goes into the bytes when the second comes. */
SEC("tc/qinq")
int vlan_push_two(struct __sk_buff *skb)
{
	if (bpf_skb_vlan_push(skb, htons(ETH_P_8021Q), 100))
		return TC_ACT_SHOT;
	if (bpf_skb_vlan_push(skb, htons(ETH_P_8021AD), 200))
		return TC_ACT_SHOT;
	skb->cb[0] = skb->vlan_tci;
	skb->cb[1] = skb->protocol;
	skb->cb[2] = skb->len;
	return TC_ACT_OK;
}

SEC("tc/pop")
int vlan_pop(struct __sk_buff *skb)
{
	u32 before = skb->len;
	long failed = bpf_skb_vlan_pop(skb);

	skb->cb[0] = before - skb->len;
	skb->cb[1] = skb->vlan_present;
	skb->cb[2] = skb->vlan_tci;
	skb->cb[3] = skb->protocol;
	return failed ? TC_ACT_SHOT : TC_ACT_OK;
}

/* Another id for the same traffic; the priority bits stay. */
SEC("tc/translate")
int vlan_translate(struct __sk_buff *skb)
{
	u16 id, tci, *to;

	if (skb->vlan_present) {
		tci = skb->vlan_tci;
	} else {
		struct eth *eth = DATA(skb);
		struct vlan *tag = (void *)(eth + 1);

		if ((void *)(tag + 1) > DATA_END(skb) || eth->type != htons(ETH_P_8021Q))
			return TC_ACT_UNSPEC;
		tci = ntohs(tag->tci);
	}
	id = tci & 0xfff;
	to = bpf_map_lookup_elem(&translations, &id);
	if (!to)
		return TC_ACT_SHOT;
	tci = (tci & 0xf000) | (*to & 0xfff);
	if (bpf_skb_vlan_pop(skb) || bpf_skb_vlan_push(skb, htons(ETH_P_8021Q), tci))
		return TC_ACT_SHOT;
	skb->tc_index = skb->vlan_tci;
	return TC_ACT_OK;
}

LICENSE("GPL");
