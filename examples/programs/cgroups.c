// SPDX-License-Identifier: GPL-2.0-or-later
/* Traffic by whose it is: cgroups, net_cls classes, users, sockets.  What comes from outside is nobody's. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_CGROUP_ARRAY);
	MAP_UINT(key_size, sizeof(u32));
	MAP_UINT(value_size, sizeof(u32));
	MAP_UINT(max_entries, 4);
} groups SEC(".maps");

struct whose {
	u64 group;
	u64 ancestor;
	u64 cookie;
	u32 classid;
	u32 sk_classid;
	u32 uid;
	s32 under;
	s32 current_under;
	u32 realm;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct whose);
} last SEC(".maps");

SEC("tc")
int whose(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct whose *whose = bpf_map_lookup_elem(&last, &zero);

	if (!whose)
		return TC_ACT_SHOT;
	whose->group = bpf_skb_cgroup_id(skb);
	whose->ancestor = bpf_skb_ancestor_cgroup_id(skb, 1);
	whose->cookie = bpf_get_socket_cookie(skb);
	whose->sk_classid = bpf_skb_cgroup_classid(skb);
	whose->uid = bpf_get_socket_uid(skb);
	whose->realm = bpf_get_route_realm(skb);
	whose->under = bpf_skb_under_cgroup(skb, &groups, 0); /* a slot without a group */
	whose->current_under = bpf_current_task_under_cgroup(&groups, 9); /* no such slot */
	return whose->under == 1 ? TC_ACT_OK : TC_ACT_PIPE;
}

SEC("tc/netcls")
int by_classid(struct __sk_buff *skb)
{
	skb->tc_classid = 0x10000 | bpf_get_cgroup_classid(skb);
	return TC_ACT_OK;
}

LICENSE("GPL");
