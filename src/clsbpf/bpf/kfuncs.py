"""Which functions of the kernel itself may a program call, and what do they take?  Kernel functions.

A kernel function (kfunc) has no number but a name and a C prototype: in a kernel these are BTF, and a
set (BTF_ID_FLAGS) says which program types may call it and what more is true of it.  Here they are a
table, so that a program is judged without a kernel.  What an argument must be follows from its type and,
where that does not say it, from the end of its name, as in the kernel:

    __k         a number known before the program runs      __sz, __szk   the size of the memory before it
    __uninit    a dynptr that is to be made                  __alloc       what bpf_obj_new gave
    __ign       not looked at                                __opt, __nullable    0 will do
    __str       a constant string                            __map         a map
    __irq_flag  an interrupt flag on the stack               __refcounted_kptr    an object with a count
    __prog      filled in by the kernel

After `|`: acquire, release (an object that is owed), null (r0 may be 0), trusted (KF_TRUSTED_ARGS), rcu
(KF_RCU), rcu-protected (KF_RCU_PROTECTED), sleeps; tc: not for socket filters.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KfuncParam:
    """A parameter: the type it has or, where `pointer`, points to ("u32", "void", "task_struct")."""

    type: str
    name: str
    pointer: bool

    def ends(self, suffix: str) -> bool:
        """Has its name this suffix (`__sz`)?"""
        return self.name.endswith(suffix)


@dataclass(frozen=True, slots=True)
class Kfunc:
    """A kernel function's prototype, as BTF has it, and its flags."""

    name: str
    params: tuple[KfuncParam, ...]
    returns: str
    returns_pointer: bool
    flags: frozenset[str]

    @property
    def iterator(self) -> str:
        """What it does with an open-coded iterator: "new", "next", "destroy", or "" for nothing."""
        if not self.name.startswith("bpf_iter_"):
            return ""
        return self.name.rpartition("_")[2]


_TEXT = """
__bpf_trap() -> void
bpf_arena_alloc_pages(void *p__map, void *addr__ign, u32 page_cnt, s32 node_id, u64 flags)
  -> void * | sleeps
bpf_arena_free_pages(void *p__map, void *ptr__ign, u32 page_cnt) -> void | sleeps
bpf_arena_reserve_pages(void *p__map, void *ptr__ign, u32 page_cnt) -> s32 | sleeps
bpf_cast_to_kern_ctx(void *obj) -> void *
bpf_cgroup_acquire(cgroup *cgrp) -> cgroup * | acquire rcu null tc
bpf_cgroup_ancestor(cgroup *cgrp, s32 level) -> cgroup * | acquire rcu null tc
bpf_cgroup_from_id(u64 cgid) -> cgroup * | acquire null tc
bpf_cgroup_read_xattr(cgroup *cgroup, u8 *name__str, bpf_dynptr *value_p) -> s32 | rcu
bpf_cgroup_release(cgroup *cgrp) -> void | release tc
bpf_copy_from_user_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32 | sleeps
bpf_copy_from_user_str(void *dst, u32 dst__sz, void *unsafe_ptr__ign, u64 flags) -> s32 | sleeps
bpf_copy_from_user_str_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32 | sleeps
bpf_copy_from_user_task_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign, task_struct *tsk)
  -> s32 | sleeps
bpf_copy_from_user_task_str(void *dst, u32 dst__sz, void *unsafe_ptr__ign, task_struct *tsk, u64 flags)
  -> s32 | sleeps
bpf_copy_from_user_task_str_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign,
  task_struct *tsk)
  -> s32 | sleeps
bpf_crypto_decrypt(bpf_crypto_ctx *ctx, bpf_dynptr *src, bpf_dynptr *dst, bpf_dynptr *siv__nullable)
  -> s32 | rcu tc
bpf_crypto_encrypt(bpf_crypto_ctx *ctx, bpf_dynptr *src, bpf_dynptr *dst, bpf_dynptr *siv__nullable)
  -> s32 | rcu tc
bpf_ct_change_status(nf_conn *nfct, u32 status) -> s32 | trusted tc
bpf_ct_change_timeout(nf_conn *nfct, u32 timeout) -> s32 | trusted tc
bpf_ct_insert_entry(nf_conn___init *nfct_i) -> nf_conn * | acquire null release tc
bpf_ct_release(nf_conn *nfct) -> void | release tc
bpf_ct_set_nat_info(nf_conn___init *nfct, union nf_inet_addr *addr, s32 port, u32 manip) -> s32 | trusted tc
bpf_ct_set_status(nf_conn___init *nfct, u32 status) -> s32 | trusted tc
bpf_ct_set_timeout(nf_conn___init *nfct, u32 timeout) -> void | trusted tc
bpf_dynptr_adjust(bpf_dynptr *p, u32 start, u32 end) -> s32
bpf_dynptr_clone(bpf_dynptr *p, bpf_dynptr *clone__uninit) -> s32
bpf_dynptr_copy(bpf_dynptr *dst_ptr, u32 dst_off, bpf_dynptr *src_ptr, u32 src_off, u32 size) -> s32
bpf_dynptr_from_skb(__sk_buff *s, u64 flags, bpf_dynptr *ptr__uninit) -> s32 | trusted
bpf_dynptr_from_skb_meta(__sk_buff *skb_, u64 flags, bpf_dynptr *ptr__uninit) -> s32 | trusted tc
bpf_dynptr_is_null(bpf_dynptr *p) -> bool
bpf_dynptr_is_rdonly(bpf_dynptr *p) -> bool
bpf_dynptr_memset(bpf_dynptr *p, u32 offset, u32 size, u8 val) -> s32
bpf_dynptr_size(bpf_dynptr *p) -> u32
bpf_dynptr_slice(bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk) -> void * | null
bpf_dynptr_slice_rdwr(bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk) -> void * | null
bpf_get_kmem_cache(u64 addr) -> kmem_cache *
bpf_iter_bits_destroy(bpf_iter_bits *it) -> void
bpf_iter_bits_new(bpf_iter_bits *it, u64 *unsafe_ptr__ign, u32 nr_words) -> s32
bpf_iter_bits_next(bpf_iter_bits *it) -> s32 * | null
bpf_iter_css_destroy(bpf_iter_css *it) -> void
bpf_iter_css_new(bpf_iter_css *it, cgroup_subsys_state *start, u32 flags) -> s32 | trusted rcu-protected
bpf_iter_css_next(bpf_iter_css *it) -> cgroup_subsys_state * | null
bpf_iter_css_task_destroy(bpf_iter_css_task *it) -> void
bpf_iter_css_task_new(bpf_iter_css_task *it, cgroup_subsys_state *css, u32 flags) -> s32 | trusted
bpf_iter_css_task_next(bpf_iter_css_task *it) -> task_struct * | null
bpf_iter_dmabuf_destroy(bpf_iter_dmabuf *it) -> void | sleeps
bpf_iter_dmabuf_new(bpf_iter_dmabuf *it) -> s32 | sleeps
bpf_iter_dmabuf_next(bpf_iter_dmabuf *it) -> dma_buf * | null sleeps
bpf_iter_kmem_cache_destroy(bpf_iter_kmem_cache *it) -> void | sleeps
bpf_iter_kmem_cache_new(bpf_iter_kmem_cache *it) -> s32 | sleeps
bpf_iter_kmem_cache_next(bpf_iter_kmem_cache *it) -> kmem_cache * | null sleeps
bpf_iter_num_destroy(bpf_iter_num *it) -> void
bpf_iter_num_new(bpf_iter_num *it, s32 start, s32 end) -> s32
bpf_iter_num_next(bpf_iter_num *it) -> s32 * | null
bpf_iter_task_destroy(bpf_iter_task *it) -> void
bpf_iter_task_new(bpf_iter_task *it, task_struct *task__nullable, u32 flags) -> s32 | trusted rcu-protected
bpf_iter_task_next(bpf_iter_task *it) -> task_struct * | null
bpf_iter_task_vma_destroy(bpf_iter_task_vma *it) -> void
bpf_iter_task_vma_new(bpf_iter_task_vma *it, task_struct *task, u64 addr) -> s32 | rcu
bpf_iter_task_vma_next(bpf_iter_task_vma *it) -> vm_area_struct * | null
bpf_key_put(bpf_key *bkey) -> void | release tc
bpf_kfunc_call_memb_release(prog_test_member *p) -> void | release tc
bpf_kfunc_call_test_release(prog_test_ref_kfunc *p) -> void | release tc
bpf_list_back(bpf_list_head *head) -> bpf_list_node * | null tc
bpf_list_front(bpf_list_head *head) -> bpf_list_node * | null tc
bpf_list_pop_back(bpf_list_head *head) -> bpf_list_node * | acquire null tc
bpf_list_pop_front(bpf_list_head *head) -> bpf_list_node * | acquire null tc
bpf_list_push_back_impl(bpf_list_head *head, bpf_list_node *node, void *meta__ign, u64 off) -> s32 | tc
bpf_list_push_front_impl(bpf_list_head *head, bpf_list_node *node, void *meta__ign, u64 off) -> s32 | tc
bpf_local_irq_restore(u64 *flags__irq_flag) -> void
bpf_local_irq_save(u64 *flags__irq_flag) -> void
bpf_lookup_system_key(u64 id) -> bpf_key * | acquire null tc
bpf_lookup_user_key(s32 serial, u64 flags) -> bpf_key * | acquire null sleeps tc
bpf_map_sum_elem_count(bpf_map *map) -> s64 | trusted
bpf_modify_return_test_tp(s32 nonce) -> s32
bpf_obj_drop_impl(void *p__alloc, void *meta__ign) -> void | release tc
bpf_obj_new_impl(u64 local_type_id__k, void *meta__ign) -> void * | acquire null tc
bpf_percpu_obj_drop_impl(void *p__alloc, void *meta__ign) -> void | release tc
bpf_percpu_obj_new_impl(u64 local_type_id__k, void *meta__ign) -> void * | acquire null tc
bpf_preempt_disable() -> void
bpf_preempt_enable() -> void
bpf_probe_read_kernel_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32
bpf_probe_read_kernel_str_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32
bpf_probe_read_user_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32
bpf_probe_read_user_str_dynptr(bpf_dynptr *dptr, u32 off, u32 size, void *unsafe_ptr__ign) -> s32
bpf_rbtree_add_impl(bpf_rb_root *root, bpf_rb_node *node, function *less, void *meta__ign, u64 off)
  -> s32 | tc
bpf_rbtree_first(bpf_rb_root *root) -> bpf_rb_node * | null tc
bpf_rbtree_left(bpf_rb_root *root, bpf_rb_node *node) -> bpf_rb_node * | null tc
bpf_rbtree_remove(bpf_rb_root *root, bpf_rb_node *node) -> bpf_rb_node * | acquire null tc
bpf_rbtree_right(bpf_rb_root *root, bpf_rb_node *node) -> bpf_rb_node * | null tc
bpf_rbtree_root(bpf_rb_root *root) -> bpf_rb_node * | null tc
bpf_rcu_read_lock() -> void
bpf_rcu_read_unlock() -> void
bpf_rdonly_cast(void *obj__ign, u32 btf_id__k) -> void *
bpf_refcount_acquire_impl(void *p__refcounted_kptr, void *meta__ign) -> void * | acquire rcu null tc
bpf_res_spin_lock(bpf_res_spin_lock *lock) -> s32 | null
bpf_res_spin_lock_irqsave(bpf_res_spin_lock *lock, u64 *flags__irq_flag) -> s32 | null
bpf_res_spin_unlock(bpf_res_spin_lock *lock) -> void
bpf_res_spin_unlock_irqrestore(bpf_res_spin_lock *lock, u64 *flags__irq_flag) -> void
bpf_send_signal_task(task_struct *task, s32 sig, u32 type, u64 value) -> s32 | trusted tc
bpf_sk_assign_tcp_reqsk(__sk_buff *s, sock *sk, bpf_tcp_req_attrs *attrs, s32 attrs__sz) -> s32 | trusted tc
bpf_skb_ct_alloc(__sk_buff *skb_ctx, bpf_sock_tuple *bpf_tuple, u32 tuple__sz, bpf_ct_opts *opts,
  u32 opts__sz)
  -> nf_conn___init * | acquire null tc
bpf_skb_ct_lookup(__sk_buff *skb_ctx, bpf_sock_tuple *bpf_tuple, u32 tuple__sz, bpf_ct_opts *opts,
  u32 opts__sz)
  -> nf_conn * | acquire null tc
bpf_strcasecmp(u8 *s1__ign, u8 *s2__ign) -> s32
bpf_strchr(u8 *s__ign, u8 c) -> s32
bpf_strchrnul(u8 *s__ign, u8 c) -> s32
bpf_strcmp(u8 *s1__ign, u8 *s2__ign) -> s32
bpf_strcspn(u8 *s__ign, u8 *reject__ign) -> s32
bpf_stream_vprintk_impl(s32 stream_id, u8 *fmt__str, void *args, u32 len__sz, void *aux__prog)
  -> s32 | trusted
bpf_strlen(u8 *s__ign) -> s32
bpf_strnchr(u8 *s__ign, u64 count, u8 c) -> s32
bpf_strnlen(u8 *s__ign, u64 count) -> s32
bpf_strnstr(u8 *s1__ign, u8 *s2__ign, u64 len) -> s32
bpf_strrchr(u8 *s__ign, s32 c) -> s32
bpf_strspn(u8 *s__ign, u8 *accept__ign) -> s32
bpf_strstr(u8 *s1__ign, u8 *s2__ign) -> s32
bpf_task_acquire(task_struct *p) -> task_struct * | acquire rcu null tc
bpf_task_from_pid(s32 pid) -> task_struct * | acquire null tc
bpf_task_from_vpid(s32 vpid) -> task_struct * | acquire null tc
bpf_task_get_cgroup1(task_struct *task, s32 hierarchy_id) -> cgroup * | acquire rcu null tc
bpf_task_release(task_struct *p) -> void | release tc
bpf_task_under_cgroup(task_struct *task, cgroup *ancestor) -> s64 | rcu tc
bpf_task_work_schedule_resume_impl(task_struct *task, bpf_task_work *tw, void *map__map,
  function *callback, void *aux__prog)
  -> s32 | trusted
bpf_task_work_schedule_signal_impl(task_struct *task, bpf_task_work *tw, void *map__map,
  function *callback, void *aux__prog)
  -> s32 | trusted
bpf_throw(u64 cookie) -> void | tc
bpf_wq_init(bpf_wq *wq, void *p__map, u32 flags) -> s32
bpf_wq_set_callback_impl(bpf_wq *wq, function *callback_fn, u32 flags, void *aux__prog) -> s32
bpf_wq_start(bpf_wq *wq, u32 flags) -> s32
bpf_xdp_ct_alloc(xdp_md *xdp_ctx, bpf_sock_tuple *bpf_tuple, u32 tuple__sz, bpf_ct_opts *opts, u32 opts__sz)
  -> nf_conn___init * | acquire null tc
bpf_xdp_ct_lookup(xdp_md *xdp_ctx, bpf_sock_tuple *bpf_tuple, u32 tuple__sz, bpf_ct_opts *opts,
  u32 opts__sz)
  -> nf_conn * | acquire null tc
bpf_xdp_metadata_rx_hash(xdp_md *ctx, u32 *hash, u32 *rss_type) -> s32
bpf_xdp_metadata_rx_timestamp(xdp_md *ctx, u64 *timestamp) -> s32
bpf_xdp_metadata_rx_vlan_tag(xdp_md *ctx, u16 *vlan_proto, u16 *vlan_tci) -> s32
"""

ITERATOR_BYTES = {
    "bpf_iter_num": 8,
    "bpf_iter_bits": 16,
    "bpf_iter_task": 24,
    "bpf_iter_task_vma": 8,
    "bpf_iter_css": 24,
    "bpf_iter_css_task": 8,
    "bpf_iter_dmabuf": 8,
    "bpf_iter_kmem_cache": 8,
}
"""How much room an iterator takes on the stack."""

SCALAR_BYTES = {"bool": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8}

PLAIN_STRUCT_BYTES = {
    "bpf_sock_tuple": 36,
    "bpf_ct_opts": 16,
    "nf_inet_addr": 16,
    "bpf_tcp_req_attrs": 20,
    "prog_test_member": 8,
}
"""Structures that hold only numbers: any memory of that size will do for a pointer to one."""


def _param(text: str) -> KfuncParam:
    type, _, name = text.rpartition(" ")
    return KfuncParam(type.removeprefix("union "), name.lstrip("*"), name.startswith("*"))


@functools.cache
def kfuncs() -> dict[str, Kfunc]:
    """Every kernel function that tc programs may call, by name."""
    found = {}
    for line in _TEXT.replace("\n  ", " ").strip().splitlines():
        prototype, _, flags = line.partition(" | ")
        head, _, result = prototype.partition(") -> ")
        name, _, params = head.partition("(")
        found[name] = Kfunc(
            name,
            tuple(_param(each) for each in params.split(", ") if each),
            result.removesuffix(" *"),
            result.endswith("*"),
            frozenset(flags.split()),
        )
    return found
