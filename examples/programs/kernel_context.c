// SPDX-License-Identifier: GPL-2.0-or-later
/* The packet as the kernel has it: behind the context is a struct sk_buff, whose fields CO-RE finds. */
#include "helpers.h"
#include "packet.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct net_device {
	u32 mtu;
	int ifindex;
} KERNEL_TYPE;

struct sk_buff {
	struct net_device *dev;
	u32 len;
	u32 data_len;
	u16 mac_len;
	u16 protocol;
	u32 mark;
	u32 priority;
	u16 network_header;
	u16 mac_header;
	u8 *head;
	u8 *data;
} KERNEL_TYPE;

extern void *bpf_cast_to_kern_ctx(void *ctx) KSYM;

SEC("tc")
int kernel_context(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	struct net_device *dev;

	skb->cb[0] = kernel->len;
	skb->cb[1] = kernel->protocol;
	skb->cb[2] = kernel->mark + kernel->priority;
	skb->cb[3] = kernel->network_header - kernel->mac_header;
	dev = kernel->dev;
	skb->cb[4] = dev->ifindex;
	return kernel->data_len ? TC_ACT_PIPE : TC_ACT_OK;
}

/* The older way: the context's address is that of the structure, for who reads memory by address. */
SEC("tc/probe")
int by_probe(struct __sk_buff *skb)
{
	struct sk_buff *kernel = (void *)skb;
	struct net_device *dev = NULL;
	u16 network = 0, mac = 0;
	u8 *head = NULL, version = 0;
	int ifindex = 0;
	u32 len = 0;

	skb->cb[0] = -bpf_probe_read_kernel(&len, sizeof(len), &kernel->len);
	skb->cb[1] = len;
	bpf_probe_read_kernel(&network, sizeof(network), &kernel->network_header);
	bpf_probe_read_kernel(&mac, sizeof(mac), &kernel->mac_header);
	skb->cb[2] = network - mac;
	bpf_probe_read_kernel(&dev, sizeof(dev), &kernel->dev);
	skb->cb[3] = -bpf_probe_read_kernel(&ifindex, sizeof(ifindex), &dev->ifindex);
	bpf_probe_read_kernel(&head, sizeof(head), &kernel->head);
	bpf_probe_read_kernel(&version, sizeof(version), head + network);
	skb->cb[4] = version;
	skb->mark = ifindex;
	return TC_ACT_OK;
}

LICENSE("GPL");
