// SPDX-License-Identifier: GPL-2.0-or-later
/* Everything a classifier sees of the packet's metadata, and everything it may write, in every width. */
#include "helpers.h"
#include "packet.h"

struct seen {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], tc_classid, napi_id, wire_len, gso_segs, gso_size;
	u64 tstamp, hwtstamp;
	u32 tstamp_type;
	u8 narrow[8];
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct seen);
} last SEC(".maps");

SEC("tc/read")
int read(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct seen *seen = bpf_map_lookup_elem(&last, &zero);
	volatile u8 *bytes = (void *)skb;
	volatile u16 *halves = (void *)skb;

	if (!seen)
		return TC_ACT_SHOT;
	seen->len = skb->len;
	seen->pkt_type = skb->pkt_type;
	seen->mark = skb->mark;
	seen->queue_mapping = skb->queue_mapping;
	seen->protocol = skb->protocol;
	seen->vlan_present = skb->vlan_present;
	seen->vlan_tci = skb->vlan_tci;
	seen->vlan_proto = skb->vlan_proto;
	seen->priority = skb->priority;
	seen->ingress_ifindex = skb->ingress_ifindex;
	seen->ifindex = skb->ifindex;
	seen->tc_index = skb->tc_index;
	UNROLL for (int i = 0; i < 5; i++)
		seen->cb[i] = skb->cb[i];
	seen->tc_classid = skb->tc_classid;
	seen->napi_id = skb->napi_id;
	seen->wire_len = skb->wire_len;
	seen->gso_segs = skb->gso_segs;
	seen->gso_size = skb->gso_size;
	seen->tstamp = skb->tstamp;
	seen->hwtstamp = skb->hwtstamp;
	seen->tstamp_type = skb->tstamp_type;
	/* narrower than the field */
	seen->narrow[0] = bytes[offset_of(struct __sk_buff, len)];
	seen->narrow[1] = bytes[offset_of(struct __sk_buff, len) + 1];
	seen->narrow[2] = bytes[offset_of(struct __sk_buff, mark) + 3];
	seen->narrow[3] = bytes[offset_of(struct __sk_buff, protocol)];
	seen->narrow[4] = halves[offset_of(struct __sk_buff, protocol) / 2];
	seen->narrow[5] = halves[offset_of(struct __sk_buff, mark) / 2 + 1];
	seen->narrow[6] = bytes[offset_of(struct __sk_buff, cb) + 5];
	seen->narrow[7] = bytes[offset_of(struct __sk_buff, pkt_type)];
	return TC_ACT_OK;
}

SEC("tc/write")
int write(struct __sk_buff *skb)
{
	volatile u8 *bytes = (void *)skb->cb;
	volatile u16 *halves = (void *)skb->cb;

	skb->mark = 0xdeadbeef;
	skb->priority = 0x00010002;
	skb->tc_index = 0x12345678; /* 16 bits of it are kept */
	skb->queue_mapping = skb->len & 1 ? 7 : 0x10007; /* too large: ignored */
	skb->tc_classid = 0x00020003; /* 16 bits of it are kept */
	skb->tstamp = 0x1122334455667788ULL;
	*(volatile u64 *)(void *)&skb->cb[0] = 0x8877665544332211ULL;
	bytes[1] = 0xaa;
	halves[3] = 0xbbbb;
	skb->cb[2] = skb->tc_index;
	skb->cb[3] = skb->tc_classid;
	skb->cb[4] = skb->queue_mapping;
	return TC_ACT_OK;
}

/* The hash: set, it stays until somebody says that it is wrong. */
SEC("tc/hash")
int hash(struct __sk_buff *skb)
{
	u32 first = bpf_get_hash_recalc(skb);

	bpf_set_hash(skb, 0xcafe0000 | skb->len);
	skb->cb[0] = skb->hash;
	skb->cb[1] = bpf_get_hash_recalc(skb);
	bpf_set_hash_invalid(skb);
	skb->cb[2] = skb->hash;
	skb->cb[3] = bpf_get_hash_recalc(skb) == first;
	skb->cb[4] = skb->hash == first;
	return TC_ACT_OK;
}

SEC("tc/type")
int change_type(struct __sk_buff *skb)
{
	skb->cb[0] = skb->pkt_type;
	skb->cb[1] = -bpf_skb_change_type(skb, PACKET_HOST);
	skb->cb[2] = -bpf_skb_change_type(skb, 4); /* outgoing: not from here */
	skb->cb[3] = -bpf_skb_change_type(skb, PACKET_OTHERHOST);
	skb->cb[4] = skb->pkt_type;
	return TC_ACT_OK;
}

/* Congestion experienced, where the sender understands that; bytes from the headers on; the device's MTU. */
SEC("tc/ecn")
int congestion(struct __sk_buff *skb)
{
	u8 from_mac[2] = {}, from_net[2] = {};
	u32 mtu = 0;

	skb->cb[0] = bpf_skb_ecn_set_ce(skb);
	skb->cb[1] = -bpf_skb_load_bytes_relative(skb, 12, from_mac, 2, 0);
	skb->cb[2] = -bpf_skb_load_bytes_relative(skb, 0, from_net, 2, 1);
	skb->cb[3] = from_mac[0] << 24 | from_mac[1] << 16 | from_net[0] << 8 | from_net[1];
	skb->cb[4] = bpf_check_mtu(skb, 0, &mtu, 0, 0);
	skb->mark = mtu;
	return TC_ACT_OK;
}

LICENSE("GPL");
