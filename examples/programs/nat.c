// SPDX-License-Identifier: GPL-2.0-or-later
/* Source NAT on the way out, its reverse on the way in; the checksums are repaired, not recomputed.
 *
 * A binding maps an inside address to an outside one; both directions are in the maps.
 */
#include "helpers.h"
#include "packet.h"

#define IP_CSUM (IPV4_OFFSET + offset_of(struct ipv4, checksum))
#define IP_SRC (IPV4_OFFSET + offset_of(struct ipv4, src))
#define IP_DST (IPV4_OFFSET + offset_of(struct ipv4, dst))

struct binding {
	be32 address;
	be16 port; /* 0: keep the port */
	u16 unused;
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, be32);
	MAP_TYPE(value, struct binding);
} inside SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, be32);
	MAP_TYPE(value, struct binding);
} outside SEC(".maps");

/* The offset of the transport checksum; 0 where there is none to repair. */
INLINE u32 l4_checksum(u32 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return L4_OFFSET + offset_of(struct tcp, checksum);
	case IPPROTO_UDP:
		return L4_OFFSET + offset_of(struct udp, checksum);
	}
	return 0;
}

INLINE int rewrite(struct __sk_buff *skb, void *bindings, u32 address_at, u32 port_at)
{
	struct ipv4 *ip = ipv4_header(skb);
	struct binding *binding;
	u32 checksum_at;
	be32 from, to;
	be16 port, new_port;
	u64 udp = 0;

	if (!ip || !has_l4(ip))
		return TC_ACT_UNSPEC;
	from = address_at == IP_SRC ? ip->src : ip->dst;
	checksum_at = l4_checksum(ip->protocol);
	if (ip->protocol == IPPROTO_UDP)
		udp = F_MARK_MANGLED_0;
	binding = bpf_map_lookup_elem(bindings, &from);
	if (!binding)
		return TC_ACT_UNSPEC;
	to = binding->address;
	new_port = binding->port;

	if (checksum_at) {
		if (bpf_l4_csum_replace(skb, checksum_at, from, to, F_PSEUDO_HDR | udp | sizeof(to)))
			return TC_ACT_SHOT;
		if (new_port) {
			if (bpf_skb_load_bytes(skb, port_at, &port, sizeof(port)))
				return TC_ACT_SHOT;
			bpf_l4_csum_replace(skb, checksum_at, port, new_port, udp | sizeof(port));
			bpf_skb_store_bytes(skb, port_at, &new_port, sizeof(new_port), 0);
		}
	}
	bpf_l3_csum_replace(skb, IP_CSUM, from, to, sizeof(to));
	if (bpf_skb_store_bytes(skb, address_at, &to, sizeof(to), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc/egress")
int nat_out(struct __sk_buff *skb)
{
	return rewrite(skb, &inside, IP_SRC, L4_OFFSET);
}

SEC("tc/ingress")
int nat_in(struct __sk_buff *skb)
{
	return rewrite(skb, &outside, IP_DST, L4_OFFSET + 2);
}

LICENSE("GPL");
