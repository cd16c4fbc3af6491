"""clsbpf: Linux's tc BPF classifier (`net/sched/cls_bpf.c`) in user space."""
