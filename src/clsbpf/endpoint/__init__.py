"""rtnetlink: requests as bytes in, the engine changed, replies as bytes out, as the kernel writes them.

- `endpoint`: a datagram of requests, acknowledgements, dumps cut into datagrams (af_netlink.c, rtnetlink.c)
- `request`: one traffic-control request, decoded
- `filters`: RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER (cls_api.c)
- `chains`: RTM_NEWCHAIN, RTM_DELCHAIN, RTM_GETCHAIN (cls_api.c)
- `actions`: RTM_NEWACTION, RTM_DELACTION, RTM_GETACTION (act_api.c)
- `qdiscs`: RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC (sch_api.c), with
  `qdisc_kinds` (Qdisc_ops) and `size_table`
- `classes`: RTM_NEWTCLASS, RTM_DELTCLASS, RTM_GETTCLASS (sch_api.c)
- `notify`: what a change is told to those who listen (rtnetlink_send)
- `links`: RTM_GETLINK, RTM_NEWLINK: the devices (rtnetlink.c)
- `places`: the block that a request is about
- `fill`, `fill_qdisc`: what of them a reply says (tcf_fill_node, cls_bpf_dump; tc_fill_qdisc, tc_fill_tclass)

Whoever drives an engine without tc's command line speaks to it the same way: there is one seam.
"""

from __future__ import annotations

from .endpoint import Endpoint

__all__ = ["Endpoint"]
