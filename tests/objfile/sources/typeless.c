/* A weak symbol of the kernel that has no type: only its address is wanted. */
#include "bpf.h"

extern void nowhere_to_be_found __ksym __attribute__((weak));

SEC("tc")
int absent(struct __sk_buff *skb)
{
	return &nowhere_to_be_found ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
