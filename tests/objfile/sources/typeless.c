/* What has no type, or a half of one. */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__type(value, u64);
} sizes SEC(".maps");

/* A weak symbol of the kernel: only its address is wanted. */
extern void nowhere_to_be_found __ksym __attribute__((weak));

SEC("tc")
int absent(struct __sk_buff *skb)
{
	return &nowhere_to_be_found ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
