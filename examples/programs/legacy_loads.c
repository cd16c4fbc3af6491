// SPDX-License-Identifier: GPL-2.0-or-later
/* cpu: v1
 * Classic packet loads (LD_ABS, LD_IND), as old programs and the socket filters before them have them.
 * A load outside the packet ends the program with 0.
 */
#include "helpers.h"
#include "packet.h"

unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long offset) asm("llvm.bpf.load.word");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} destinations SEC(".maps");

SEC("classifier")
int legacy_loads(struct __sk_buff *skb)
{
	u64 offset = sizeof(struct eth), ports, one = 1, *packets;
	u32 address;

	skb->cb[0] = load_half(skb, 12);
	if (skb->cb[0] != ETH_P_IP)
		return TC_ACT_UNSPEC;
	address = load_word(skb, offset + offset_of(struct ipv4, dst));
	packets = bpf_map_lookup_elem(&destinations, &address);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&destinations, &address, &one, UPDATE_ANY);
	/* past the options, wherever they end: an indirect load */
	ports = load_word(skb, offset + (load_byte(skb, offset) & 0xf) * 4);
	skb->cb[1] = ports >> 16;
	skb->cb[2] = ports & 0xffff;
	skb->cb[3] = load_byte(skb, offset + 100); /* short packets end here */
	skb->mark = 1;
	return TC_ACT_OK;
}

LICENSE("GPL");
