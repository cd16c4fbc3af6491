// SPDX-License-Identifier: GPL-2.0-or-later
/* Device maps in a classifier: which port of the switch, and is it up?  Addresses are learnt. */
#include "helpers.h"
#include "packet.h"

struct mac {
	u8 bytes[6];
	u16 vlan;
};

struct port {
	u32 ifindex;
	u32 program;
};

struct {
	MAP_UINT(type, MAP_DEVMAP);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(value_size, sizeof(u32));
	MAP_UINT(max_entries, 8);
} ports SEC(".maps");

struct {
	MAP_UINT(type, MAP_DEVMAP_HASH);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(value_size, sizeof(struct port));
	MAP_UINT(max_entries, 8);
} by_vlan SEC(".maps");

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, struct mac);
	MAP_TYPE(value, u32);
} learnt SEC(".maps");

SEC("tc")
int forward(struct __sk_buff *skb)
{
	struct mac from = {.vlan = skb->vlan_tci & 0xfff}, to = {.vlan = skb->vlan_tci & 0xfff};
	u32 vlan = skb->vlan_tci & 0xfff, port = skb->mark & 7, *known;
	struct eth *eth = DATA(skb);
	struct port *uplink;
	u32 *ifindex;

	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	memcpy(from.bytes, eth->src, 6);
	memcpy(to.bytes, eth->dst, 6);
	bpf_map_update_elem(&learnt, &from, &port, UPDATE_ANY);
	if (to.bytes[0] & 1)
		return TC_ACT_OK; /* flooded by the stack */
	known = bpf_map_lookup_elem(&learnt, &to);
	if (known) {
		ifindex = bpf_map_lookup_elem(&ports, known);
		return ifindex ? bpf_redirect(*ifindex, 0) : TC_ACT_SHOT;
	}
	uplink = bpf_map_lookup_elem(&by_vlan, &vlan);
	if (!uplink)
		return TC_ACT_PIPE;
	skb->cb[0] = uplink->program;
	return bpf_redirect(uplink->ifindex, 0);
}

LICENSE("GPL");
