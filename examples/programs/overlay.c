// SPDX-License-Identifier: GPL-2.0-or-later
/* Tunnel metadata: the key a collect-metadata device (vxlan, geneve) will send with, or received with. */
#include "helpers.h"
#include "packet.h"

/* struct bpf_tunnel_key */
struct key {
	u32 id;
	union {
		u32 remote4; /* host order */
		u32 remote6[4];
	};
	u8 tos;
	u8 ttl;
	u16 flags;
	u32 label;
	union {
		u32 local4;
		u32 local6[4];
	};
};

struct geneve_option {
	be16 class;
	u8 type;
	u8 words;
	be32 data[2];
};

SEC("tc/set")
int set_key(struct __sk_buff *skb)
{
	struct geneve_option option = {htons(0x102), 0x80, 2, {htonl(1), htonl(2)}}, back = {};
	struct key key = {.id = 42, .remote4 = 0xac100164, .tos = 0x10, .ttl = 64}, read = {};

	skb->cb[0] = -bpf_skb_set_tunnel_key(skb, &key, sizeof(key), F_ZERO_CSUM_TX);
	skb->cb[1] = -bpf_skb_set_tunnel_opt(skb, &option, sizeof(option));
	/* what is to be sent is not what was received */
	skb->cb[2] = -bpf_skb_get_tunnel_key(skb, &read, sizeof(read), 0);
	skb->cb[3] = -bpf_skb_get_tunnel_opt(skb, &back, sizeof(back));
	skb->cb[4] = read.id;
	return TC_ACT_OK;
}

SEC("tc/set6")
int set_key6(struct __sk_buff *skb)
{
	struct key key = {.id = 7, .remote6 = {htonl(0xfd000000), 0, 0, htonl(1)}, .label = 0x12345};

	skb->cb[0] = -bpf_skb_set_tunnel_key(skb, &key, sizeof(key), F_TUNINFO_IPV6);
	key.label = 0xfffff + 1;
	skb->cb[1] = -bpf_skb_set_tunnel_key(skb, &key, sizeof(key), F_TUNINFO_IPV6);
	skb->cb[2] = -bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 1 << 15);
	skb->cb[3] = -bpf_skb_set_tunnel_key(skb, &key, 20, 0);
	skb->cb[4] = -bpf_skb_set_tunnel_key(skb, &key, 27, 0);
	return TC_ACT_OK;
}

SEC("tc/get")
int get_key(struct __sk_buff *skb)
{
	struct key key;
	u8 option[8];

	skb->cb[0] = -bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0);
	skb->cb[1] = key.id; /* zeroed when there is none */
	skb->cb[2] = -bpf_skb_get_tunnel_opt(skb, option, sizeof(option));
	skb->cb[3] = option[0];
	return skb->cb[0] ? TC_ACT_PIPE : TC_ACT_OK;
}

LICENSE("GPL");
