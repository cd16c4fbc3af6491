// SPDX-License-Identifier: GPL-2.0-or-later
/* TLS without a proxy: the name that a ClientHello asks for (SNI) is found, counted, and refused if listed. */
#include "helpers.h"
#include "packet.h"

#define HELLO_BYTES 512 /* as much of a hello as is looked at; a power of two */
#define NAME_BYTES 64
#define EXTENSIONS 24
#define HANDSHAKE 22
#define CLIENT_HELLO 1
#define SERVER_NAME 0
#define RECORD_BYTES 5
#define BEFORE_SESSION (RECORD_BYTES + 4 + 2 + 32) /* the handshake's head, a version, random bytes */

struct hello {
	u8 bytes[HELLO_BYTES];
};

struct name {
	u8 text[NAME_BYTES]; /* in lower case, zeros after it */
};

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct hello);
} hellos SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct name);
	MAP_TYPE(value, u32);
} refused SEC(".maps");

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct name);
	MAP_TYPE(value, u64);
} asked SEC(".maps");

INLINE u8 byte_at(const struct hello *hello, u32 at)
{
	return hello->bytes[at & (HELLO_BYTES - 1)];
}

INLINE u32 short_at(const struct hello *hello, u32 at)
{
	return byte_at(hello, at) << 8 | byte_at(hello, at + 1);
}

/* Where the extension with the name begins; 0 if it does not within `length` bytes. */
INLINE u32 server_name(const struct hello *hello, u32 length)
{
	u32 at = BEFORE_SESSION, i;

	at += 1 + byte_at(hello, at);  /* session */
	at += 2 + short_at(hello, at); /* ciphers */
	at += 1 + byte_at(hello, at);  /* compressions */
	at += 2;
	for (i = 0; i < EXTENSIONS && at + 9 < length; i++) {
		if (short_at(hello, at) == SERVER_NAME)
			return at + 4;
		at += 4 + short_at(hello, at + 2);
	}
	return 0;
}

SEC("tc")
int sni(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	struct name name = {};
	struct hello *hello;
	u32 zero = 0, offset, length, at, size, i;
	struct tcp *tcp;
	u64 *count;
	u32 *hits;

	if (!ip || ip->protocol != IPPROTO_TCP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > DATA_END(skb) || tcp->dst != htons(443))
		return TC_ACT_UNSPEC;
	offset = L4_OFFSET + tcp->words * 4;
	if (skb->len <= offset + BEFORE_SESSION)
		return TC_ACT_OK;
	length = skb->len - offset;
	if (length > HELLO_BYTES)
		length = HELLO_BYTES;
	hello = bpf_map_lookup_elem(&hellos, &zero);
	if (!hello || length < 1 || bpf_skb_load_bytes(skb, offset, hello, length))
		return TC_ACT_SHOT;
	if (hello->bytes[0] != HANDSHAKE || hello->bytes[RECORD_BYTES] != CLIENT_HELLO)
		return TC_ACT_OK;
	at = server_name(hello, length);
	if (!at)
		return TC_ACT_PIPE;
	size = short_at(hello, at + 3);
	at += 5;
	if (size >= NAME_BYTES || at + size > length)
		return TC_ACT_SHOT;
	for (i = 0; i < NAME_BYTES - 1 && i < size; i++) {
		u8 byte = byte_at(hello, at + i);

		if (byte >= 'A' && byte <= 'Z')
			byte += 'a' - 'A';
		name.text[i] = byte;
	}
	skb->mark = size;
	hits = bpf_map_lookup_elem(&refused, &name);
	if (hits) {
		__sync_fetch_and_add(hits, 1);
		return TC_ACT_SHOT;
	}
	count = bpf_map_lookup_elem(&asked, &name);
	if (count) {
		*count += 1;
	} else {
		u64 first = 1;

		bpf_map_update_elem(&asked, &name, &first, UPDATE_ANY);
	}
	return TC_ACT_OK;
}

LICENSE("GPL");
