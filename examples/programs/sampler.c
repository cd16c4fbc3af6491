// SPDX-License-Identifier: GPL-2.0-or-later
/* One packet in N by chance, and what time it is by each clock: nothing here is the same twice.
 *
 * So the program itself checks what can be relied on, and remembers how often it was wrong.
 */
#include "helpers.h"
#include "packet.h"

const volatile u32 one_in = 4;

u64 packets;
u64 wrong;
u64 chosen SEC(".data.chance");
u64 last_time SEC(".data.chance");
u32 last_random SEC(".data.chance");

SEC("tc/sample")
int sample(struct __sk_buff *skb)
{
	u32 random = bpf_get_prandom_u32();

	packets++;
	last_random = random;
	if (bpf_get_smp_processor_id() >= 4096)
		wrong++;
	if (bpf_get_numa_node_id() > 1024)
		wrong++;
	if (random % one_in == 0)
		chosen++;
	if (chosen > packets)
		wrong++;
	skb->mark = packets;
	return TC_ACT_OK;
}

SEC("tc/clocks")
int clocks(struct __sk_buff *skb)
{
	u64 now = bpf_ktime_get_ns(), later, boot = bpf_ktime_get_boot_ns();
	u64 coarse = bpf_ktime_get_coarse_ns(), tai = bpf_ktime_get_tai_ns(), ticks = bpf_jiffies64();

	later = bpf_ktime_get_ns();
	wrong += later < now;
	wrong += now < last_time;
	wrong += boot < now;
	wrong += coarse > later;
	wrong += !tai;
	wrong += !ticks;
	last_time = later;
	packets++;
	skb->mark = wrong;
	return TC_ACT_OK;
}

/* Whose turn it was when the packet came: chance too, for a classifier. */
SEC("tc/task")
int task(struct __sk_buff *skb)
{
	char comm[16] = {[15] = 'x'};
	u64 ids = bpf_get_current_pid_tgid();

	packets++;
	wrong += bpf_get_current_comm(comm, sizeof(comm)) != 0;
	wrong += comm[15] != 0;
	wrong += bpf_get_current_comm(comm, 4) != 0;
	wrong += (ids >> 32) > 0x400000;
	wrong += bpf_get_current_uid_gid() == 0x1234567812345678ULL;
	skb->mark = wrong;
	return TC_ACT_OK;
}

LICENSE("GPL");
