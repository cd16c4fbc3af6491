/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A program made of parts: static and global subprograms, a callback, variables in every data section,
 * maps with types, an array of maps and one of programs that are filled from the start.
 */
#include "bpf.h"

struct flow {
	__u32 saddr, daddr;
	__u16 sport, dport;
	__u8 proto;
};

struct counter {
	__u64 packets, bytes;
};

#ifndef NO_MAPS
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, 1);
	__type(key, struct flow);
	__type(value, struct counter);
	__uint(pinning, 1);
} flows SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 8);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &first, [5] = &second } };

int stage_two(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, int(struct __sk_buff *));
} stages SEC(".maps") = { .values = { [2] = &stage_two } };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
} events SEC(".maps");
#endif

const volatile __u32 limit = 100;
const volatile char label[8] = "parts";
__u64 seen = 7;
__u32 dropped;
static volatile __u32 hidden = 3;
SEC(".data.config") struct counter initial = { 1, 2 };
__u8 scratch[64];

static __noinline int twice(int x)
{
	return x * 2 + (int)bpf_get_prandom_u32();
}

__noinline int thrice(int x)
{
	return twice(x) + x;
}

static int each(__u32 index, void *context)
{
	*(__u32 *)context += index + hidden;
	return 0;
}

#ifndef NO_MAPS
SEC("tc/ingress")
int on_ingress(struct __sk_buff *skb)
{
	struct flow key = { .proto = 6 };
	struct counter *counter = bpf_map_lookup_elem(&flows, &key);
	__u32 sum = 0;

	if (counter)
		counter->packets += initial.packets;
	seen++;
	bpf_loop(4, each, &sum, 0);
	if (skb->len > limit)
		dropped += label[1];
	bpf_tail_call(skb, &stages, 2);
	return thrice(skb->len) + sum + scratch[3];
}

SEC("tc/ingress")
int stage_two(struct __sk_buff *skb)
{
	return twice(skb->mark) + (bpf_map_lookup_elem(&outer, &dropped) != 0);
}

SEC("action")
int verdict(struct __sk_buff *skb)
{
	return bpf_ringbuf_query(&events, 0) ? 2 : 0;
}

#else
SEC("tc/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return thrice(skb->len) + limit + label[1] + seen + dropped + hidden + scratch[3] + initial.bytes;
}
#endif

char _license[] SEC("license") = "GPL";
__u32 _version SEC("version") = 0x40d00;
