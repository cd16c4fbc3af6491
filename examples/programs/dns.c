// SPDX-License-Identifier: GPL-2.0-or-later
/* DNS questions: the name is read label by label, counted, and refused when it or a parent is listed. */
#include "helpers.h"
#include "packet.h"

#define NAME_BYTES 64

struct dns {
	be16 id;
	be16 flags;
	be16 questions;
	be16 answers;
	be16 authorities;
	be16 additional;
};

struct name {
	u8 text[NAME_BYTES]; /* in lower case, a dot before each label, zeros after it */
};

struct seen {
	u64 questions;
	u16 type;
	u16 labels;
	u32 last_id;
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct name);
	MAP_TYPE(value, struct seen);
} names SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct name);
	MAP_TYPE(value, u32);
} blocked SEC(".maps");

SEC("tc")
int dns(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	void *end = DATA_END(skb);
	struct name name = {};
	struct seen *seen;
	struct udp *udp;
	struct dns *dns;
	u32 left = 0, labels = 0, id, i;
	u8 *at;
	be16 type;

	if (!ip || ip->protocol != IPPROTO_UDP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	udp = (void *)(ip + 1);
	dns = (void *)(udp + 1);
	if ((void *)(dns + 1) > end || udp->dst != htons(53))
		return TC_ACT_UNSPEC;
	if (dns->flags & htons(0x8000) || dns->questions != htons(1))
		return TC_ACT_UNSPEC;
	id = ntohs(dns->id);
	at = (void *)(dns + 1);
	/* Dots take the places of the length bytes, so a place in the name is a place in the packet. */
	for (i = 0; i < NAME_BYTES; i++) {
		u8 byte;

		if ((void *)(at + i + 1) > end)
			return TC_ACT_SHOT;
		byte = at[i];
		if (left) {
			left--;
			if (byte >= 'A' && byte <= 'Z')
				byte += 'a' - 'A';
		} else {
			if (byte >= 0xc0)
				return TC_ACT_SHOT; /* compressed in a question: not honest */
			if (!byte)
				break;
			left = byte;
			labels++;
			byte = '.';
		}
		name.text[i] = byte;
	}
	at += i + 1;
	if (i == NAME_BYTES || (void *)(at + sizeof(type)) > end)
		return TC_ACT_SHOT;
	memcpy(&type, at, sizeof(type));
	if (bpf_map_lookup_elem(&blocked, &name))
		return TC_ACT_SHOT;
	seen = bpf_map_lookup_elem(&names, &name);
	if (seen) {
		__sync_fetch_and_add(&seen->questions, 1);
		seen->last_id = id;
	} else {
		struct seen first = {.questions = 1, .type = ntohs(type), .labels = labels, .last_id = id};

		bpf_map_update_elem(&names, &name, &first, UPDATE_NOEXIST);
	}
	skb->priority = labels;
	return TC_ACT_OK;
}

LICENSE("GPL");
