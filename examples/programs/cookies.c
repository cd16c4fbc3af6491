// SPDX-License-Identifier: GPL-2.0-or-later
/* The kernel's own SYN cookies, without a socket; and the state of IPsec, where there is any. */
#include "helpers.h"
#include "packet.h"

/* struct bpf_xfrm_state */
struct xfrm {
	u32 reqid;
	be32 spi;
	u16 family;
	u16 unused;
	be32 remote[4];
};

u64 made;
u64 checked;
u64 wrong;

SEC("tc/cookie")
int cookie(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	struct tcp *tcp;
	s64 made_cookie;
	u8 header[60];
	u32 length;

	if (!ip || ip->protocol != IPPROTO_TCP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	if ((tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		if (tcp->words != 5) /* the whole header is wanted */
			skb->cb[1] = -bpf_tcp_raw_gen_syncookie_ipv4(ip, tcp, sizeof(*tcp));
		length = tcp->words * 4;
		opaque(length); /* keeps the check on what is used */
		if (length > sizeof(header) || length < sizeof(*tcp) || bpf_skb_load_bytes(skb, L4_OFFSET, header, length))
			return TC_ACT_PIPE;
		made_cookie = bpf_tcp_raw_gen_syncookie_ipv4(ip, (void *)header, length);
		wrong += made_cookie < 0;
		made++;
		skb->cb[2] = made_cookie >> 32; /* the segment size that the cookie stands for */
		/* as its ACK would come back */
		tcp->seq = htonl(ntohl(tcp->seq) + 1);
		tcp->ack = htonl((u32)made_cookie + 1);
		tcp->flags = TCP_ACK;
		wrong += bpf_tcp_raw_check_syncookie_ipv4(ip, tcp) != 0;
		tcp->ack = htonl((u32)made_cookie + 0x2000001);
		skb->cb[0] = -bpf_tcp_raw_check_syncookie_ipv4(ip, tcp);
		tcp->ack = 0;
	}
	checked++;
	return wrong ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc/xfrm")
int xfrm(struct __sk_buff *skb)
{
	struct xfrm state = {.reqid = 1};

	skb->cb[0] = -bpf_skb_get_xfrm_state(skb, 0, &state, sizeof(state), 0);
	skb->cb[1] = state.reqid;
	skb->cb[2] = -bpf_skb_get_xfrm_state(skb, 0, &state, sizeof(state), 1);
	return TC_ACT_OK;
}

LICENSE("GPL");
