// SPDX-License-Identifier: GPL-2.0-or-later
/* Words for people: the trace log, formatted strings, and numbers read out of text. */
#include "helpers.h"
#include "packet.h"

char line[96];
char word[16] = "clsbpf";
s64 number;
u64 hex;
s32 compared[3];
s64 parsed[6];

static const char short_format[] = "len %d mark %x\n";
static const char long_format[] = "%s: proto 0x%04x len %5d|%-5d|%05u %llu %lld %c%%\n";

SEC("tc/trace")
int trace(struct __sk_buff *skb)
{
	u64 args[8] = {(u64)(long)word, skb->protocol, skb->len, skb->len, skb->mark, ~0ULL, -5ULL, 'x'};
	const char stack_format[] = "type %u at %llu";

	skb->cb[0] = bpf_trace_printk(short_format, sizeof(short_format), skb->len, skb->mark);
	skb->cb[1] = bpf_trace_printk(stack_format, sizeof(stack_format), skb->pkt_type, 12345678901ULL);
	skb->cb[2] = bpf_trace_vprintk(long_format, sizeof(long_format), args, sizeof(args));
	return TC_ACT_OK;
}

static const char address_format[] = "%pI4 > %pI4 ttl %3d %-8s|%8s|%s| %x %X %+d";

SEC("tc/format")
int format(struct __sk_buff *skb)
{
	struct ipv4 ip;
	u64 args[9];

	if (bpf_skb_load_bytes(skb, IPV4_OFFSET, &ip, sizeof(ip)))
		return TC_ACT_UNSPEC;
	args[0] = (u64)(long)&ip.src;
	args[1] = (u64)(long)&ip.dst;
	args[2] = ip.ttl;
	args[3] = (u64)(long)word;
	args[4] = (u64)(long)word;
	args[5] = (u64)(long)word;
	args[6] = ip.protocol;
	args[7] = ip.protocol;
	args[8] = skb->len;
	skb->cb[0] = bpf_snprintf(line, sizeof(line), address_format, args, sizeof(args));
	skb->cb[1] = bpf_snprintf(word + 8, 4, "%d", args + 8, 8); /* cut: tells what it would take */
	skb->cb[2] = bpf_snprintf(NULL, 0, "%llx", args + 8, 8);
	return TC_ACT_OK;
}

SEC("tc/parse")
int parse(struct __sk_buff *skb)
{
	char text[24] = {};

	/* as many bytes of the payload as there are */
	if (bpf_skb_load_bytes(skb, 42, text, 16) && bpf_skb_load_bytes(skb, 42, text, 4))
		return TC_ACT_UNSPEC;
	parsed[0] = bpf_strtol(text, 16, 10, &number);
	parsed[1] = bpf_strtoul(text, 16, 16, &hex);
	parsed[2] = bpf_strtol("-0x7f end", 9, 0, &parsed[3]);
	parsed[4] = bpf_strtoul("99999999999999999999", 20, 10, (u64 *)&parsed[5]);
	compared[0] = bpf_strncmp(text, 4, "GET ");
	compared[1] = bpf_strncmp(text, 8, "SSH-2.0");
	compared[2] = bpf_strncmp(word, 6, "clsbpf");
	return compared[0] ? TC_ACT_OK : TC_ACT_PIPE;
}

LICENSE("GPL");
