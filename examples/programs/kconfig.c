// SPDX-License-Identifier: GPL-2.0-or-later
/* The kernel's configuration and version as variables, and functions that may not be there. */
#include "helpers.h"
#include "packet.h"

enum libbpf_tristate { NO, YES, MODULE };

extern int LINUX_KERNEL_VERSION KCONFIG;
extern u32 CONFIG_HZ KCONFIG;
extern _Bool CONFIG_BPF KCONFIG;
extern enum libbpf_tristate CONFIG_NET_CLS_BPF KCONFIG WEAK;
extern u64 CONFIG_NO_SUCH_OPTION KCONFIG WEAK;
extern u64 clsbpf_no_such_function(void) KSYM WEAK;

u32 major;

SEC("tc")
int kconfig(struct __sk_buff *skb)
{
	major = LINUX_KERNEL_VERSION >> 16;
	skb->cb[0] = CONFIG_HZ;
	skb->cb[1] = CONFIG_BPF;
	skb->cb[2] = CONFIG_NET_CLS_BPF != NO;
	skb->cb[3] = CONFIG_NO_SUCH_OPTION;
	if (clsbpf_no_such_function)
		skb->cb[4] = clsbpf_no_such_function();
	return major >= 4 ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSE("GPL");
