// SPDX-License-Identifier: GPL-2.0-or-later
/* MSS clamping: a SYN may not promise larger segments than the tunnel behind us carries. */
#include "helpers.h"
#include "packet.h"

#define OPTIONS 40

const volatile u16 largest = 1360;
u32 clamped;

SEC("tc")
int clamp(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	u32 length, at = 0, tcp_at = L4_OFFSET;
	u8 options[OPTIONS + 4] = {};
	struct tcp *tcp;
	be16 old, new;

	if (!ip || ip->protocol != IPPROTO_TCP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > DATA_END(skb) || !(tcp->flags & TCP_SYN))
		return TC_ACT_UNSPEC;
	length = tcp->words * 4 - sizeof(*tcp);
	if (length - 1 >= OPTIONS)
		return TC_ACT_UNSPEC;
	opaque(length);
	if (length < 1 || length > OPTIONS)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, tcp_at + sizeof(*tcp), options, length))
		return TC_ACT_SHOT;
	for (int i = 0; i < OPTIONS && at < length; i++) {
		u8 kind;

		if (at > OPTIONS - 1)
			break;
		kind = options[at];
		if (kind == 0)
			break;
		if (kind == 1) {
			at++;
			continue;
		}
		if (kind != 2) {
			if (options[at + 1] < 2)
				break;
			at += options[at + 1];
			continue;
		}
		memcpy(&old, options + at + 2, sizeof(old));
		if (ntohs(old) <= largest)
			return TC_ACT_OK;
		new = htons(largest);
		at += tcp_at + sizeof(*tcp) + 2;
		/* a 16-bit word at an odd place counts with its bytes swapped */
		if (at & 1) {
			old = __builtin_bswap16(old);
			new = __builtin_bswap16(new);
		}
		bpf_l4_csum_replace(skb, tcp_at + offset_of(struct tcp, checksum), old, new, sizeof(new));
		new = htons(largest);
		bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
		clamped++;
		return TC_ACT_PIPE;
	}
	return TC_ACT_OK;
}

LICENSE("GPL");
