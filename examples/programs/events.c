// SPDX-License-Identifier: GPL-2.0-or-later
/* Events for user space: a perf event with the packet's first bytes, and records in ring buffers. */
#include "helpers.h"
#include "packet.h"

struct event {
	u32 len;
	u32 protocol;
	be32 src;
	be32 dst;
	u64 number;
};

struct {
	MAP_UINT(type, MAP_PERF_EVENT_ARRAY);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(value_size, sizeof(u32));
	MAP_UINT(max_entries, 64);
} samples SEC(".maps");

struct {
	MAP_UINT(type, MAP_RINGBUF);
	MAP_UINT(max_entries, 4096);
} ring SEC(".maps");

struct {
	MAP_UINT(type, MAP_RINGBUF);
	MAP_UINT(max_entries, 4096);
} headers SEC(".maps");

u64 numbered;
u64 lost;

/* The event, then up to 64 bytes of the packet. */
SEC("tc/perf")
int sample(struct __sk_buff *skb)
{
	u64 bytes = skb->len < 64 ? skb->len : 64;
	struct event event = {.len = skb->len, .protocol = skb->protocol, .number = ++numbered};
	long failed = bpf_perf_event_output(skb, &samples, F_CURRENT_CPU | bytes << F_INDEX_BITS, &event,
					    sizeof(event));

	if (failed)
		lost++;
	return failed ? TC_ACT_PIPE : TC_ACT_OK;
}

/* A record is filled where it will be read; ICMP is not worth one after all. */
SEC("tc/ring")
int report(struct __sk_buff *skb)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	struct ipv4 *ip = ipv4_header(skb);

	if (!event) {
		lost++;
		return TC_ACT_SHOT;
	}
	event->len = skb->len;
	event->protocol = 0;
	event->src = event->dst = 0;
	event->number = ++numbered;
	if (!ip) {
		bpf_ringbuf_submit(event, 0);
		return TC_ACT_UNSPEC;
	}
	if (ip->protocol == IPPROTO_ICMP) {
		bpf_ringbuf_discard(event, 0);
		return TC_ACT_OK;
	}
	event->protocol = ip->protocol;
	event->src = ip->src;
	event->dst = ip->dst;
	bpf_ringbuf_submit(event, 0);
	return TC_ACT_OK;
}

/* A copy of a header; what the ring then holds. */
SEC("tc/copy")
int copy_header(struct __sk_buff *skb)
{
	struct ipv4 copy;

	if (bpf_skb_load_bytes(skb, IPV4_OFFSET, &copy, sizeof(copy)))
		return TC_ACT_UNSPEC;
	if (bpf_ringbuf_output(&headers, &copy, sizeof(copy), 0)) {
		lost++;
		skb->mark = 1;
	}
	skb->cb[0] = bpf_ringbuf_query(&headers, 0); /* unread */
	skb->cb[1] = bpf_ringbuf_query(&headers, 1); /* size */
	skb->cb[2] = bpf_ringbuf_query(&headers, 2); /* consumer */
	skb->cb[3] = bpf_ringbuf_query(&headers, 3); /* producer */
	return TC_ACT_OK;
}

LICENSE("GPL");
