// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads of kernel memory: a pointer that cannot be followed is an error, and the room is zeroed. */
#include "helpers.h"
#include "packet.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *group_leader;
} KERNEL_TYPE;

u64 wrong;
static char greeting[8] = "hello";

SEC("tc/fault")
int fault(struct __sk_buff *skb)
{
	u64 room[2] = {1, 2};
	char text[8] = "zzzzzzz";

	skb->cb[0] = -bpf_probe_read_kernel(room, sizeof(room), NULL);
	skb->cb[1] = room[0] | room[1];
	skb->cb[2] = -bpf_probe_read_kernel_str(text, sizeof(text), (void *)8);
	skb->cb[3] = text[0];
	/* the program's own memory is kernel memory too */
	skb->cb[4] = bpf_probe_read_kernel_str(text, sizeof(text), greeting);
	skb->mark = text[4];
	return bpf_probe_read_kernel(room, 4, greeting) ? TC_ACT_SHOT : TC_ACT_OK;
}

/* Who runs, asked in two ways. */
SEC("tc/task")
int task(struct __sk_buff *skb)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 ids = bpf_get_current_pid_tgid();
	int pid = 0, tgid = 0;

	bpf_probe_read_kernel(&pid, sizeof(pid), &task->pid);
	bpf_probe_read_kernel(&tgid, sizeof(tgid), &task->tgid);
	wrong += (u32)pid != (u32)ids;
	wrong += (u32)tgid != ids >> 32;
	skb->mark = wrong;
	return TC_ACT_OK;
}

LICENSE("GPL");
