// SPDX-License-Identifier: GPL-2.0-or-later
/* Dynptrs: pointers that carry their length.  Over the packet, over memory, over a ring buffer record;
 * kernel functions where there is no helper.
 */
#include "helpers.h"
#include "packet.h"

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, u64 flags, struct bpf_dynptr *result) KSYM;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *dynptr, u32 offset, void *buffer, u32 size) KSYM;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *dynptr, u32 offset, void *buffer, u32 size) KSYM;
extern u32 bpf_dynptr_size(const struct bpf_dynptr *dynptr) KSYM;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *dynptr, u32 start, u32 end) KSYM;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr *dynptr) KSYM;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *dynptr) KSYM;
extern int bpf_dynptr_clone(const struct bpf_dynptr *dynptr, struct bpf_dynptr *clone) KSYM;

struct {
	MAP_UINT(type, MAP_RINGBUF);
	MAP_UINT(max_entries, 16384);
} records SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u8[64]);
} scratch SEC(".maps");

u64 lost;

SEC("tc/packet")
int packet(struct __sk_buff *skb)
{
	struct bpf_dynptr whole, part;
	struct ipv4 buffer, *ip;
	struct eth link;
	be16 wire;

	if (bpf_dynptr_from_skb(skb, 0, &whole))
		return TC_ACT_SHOT;
	if (bpf_dynptr_read(&link, sizeof(link), &whole, 0, 0) || link.type != htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	ip = bpf_dynptr_slice_rdwr(&whole, sizeof(struct eth), &buffer, sizeof(buffer));
	if (!ip)
		return TC_ACT_SHOT;
	ip->tos |= 4;
	if (ip == &buffer)
		bpf_dynptr_write(&whole, sizeof(struct eth), &buffer, sizeof(buffer), 0);
	skb->cb[0] = bpf_dynptr_size(&whole);
	bpf_dynptr_clone(&whole, &part);
	skb->cb[1] = -bpf_dynptr_adjust(&part, sizeof(struct eth), skb->len);
	skb->cb[2] = bpf_dynptr_size(&part);
	wire = htons(0x1234);
	skb->cb[3] = -bpf_dynptr_write(&part, 4, &wire, sizeof(wire), 0);
	skb->cb[4] = -bpf_dynptr_read(&wire, sizeof(wire), &part, skb->len, 0); /* behind its end */
	if (bpf_dynptr_is_null(&part) || bpf_dynptr_is_rdonly(&part))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc/slice")
int slice(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;
	struct flow *ports;
	u64 buffer;

	bpf_dynptr_from_skb(skb, 0, &whole);
	ports = bpf_dynptr_slice(&whole, L4_OFFSET, &buffer, 8);
	if (!ports)
		return TC_ACT_PIPE;
	skb->mark = *(u32 *)ports;
	return TC_ACT_OK;
}

SEC("tc/record")
int record(struct __sk_buff *skb)
{
	u32 length = skb->len, size = length > 256 ? 256 : length;
	struct bpf_dynptr record;
	u8 *first;

	if (bpf_ringbuf_reserve_dynptr(&records, size, 0, &record)) {
		lost++;
		bpf_ringbuf_discard_dynptr(&record, 0);
		return TC_ACT_SHOT;
	}
	first = bpf_dynptr_data(&record, 0, 14);
	if (first)
		bpf_skb_load_bytes(skb, 0, first, 14);
	bpf_dynptr_write(&record, size - 4, &length, sizeof(length), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return TC_ACT_OK;
}

SEC("tc/memory")
int memory(struct __sk_buff *skb)
{
	u32 zero = 0, words[3] = {skb->len, 2, 3};
	u8 *value = bpf_map_lookup_elem(&scratch, &zero);
	struct bpf_dynptr mem;
	u32 *word;

	if (!value)
		return TC_ACT_SHOT;
	skb->cb[0] = -bpf_dynptr_from_mem(value, 64, 0, &mem);
	skb->cb[1] = -bpf_dynptr_write(&mem, skb->len & 31, words, sizeof(words), 0);
	skb->cb[2] = -bpf_dynptr_write(&mem, 60, words, sizeof(words), 0); /* does not fit */
	skb->cb[3] = -bpf_dynptr_read(words, 8, &mem, 4, 0);
	word = bpf_dynptr_data(&mem, 16, 4);
	if (!word)
		return TC_ACT_PIPE;
	*word += words[1];
	skb->mark = *word;
	return TC_ACT_OK;
}

LICENSE("GPL");
