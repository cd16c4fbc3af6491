"""Requests about filters: add, change, replace, delete, flush, get, dump.

A request names a place (a device and parent, or a shared block), a chain in it, a prio and protocol
there, and a handle.  What is not there yet is made on the way down when NLM_F_CREATE allows it, and
taken away again when the rest fails.  The order of the checks is the kernel's, for it decides which
of several errors a user sees.

Mirrors tc_new_tfilter(), tc_del_tfilter(), tc_get_tfilter() and tc_dump_tfilter() of
net/sched/cls_api.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..engine.devices import Network
from ..errors import NetlinkError
from ..netlink.attr import NLA_HDRLEN
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, Message
from ..netlink.policy import BPF, PolicyError, parse_attrs
from ..netlink.schema import TCA_BPF_MAX, TCA_DUMP_FLAGS_TERSE, Rtm, Tca, TcaBpf
from ..tc.chain import Chain
from ..tc.filter import BpfOptions, Classifier, Filter
from .fill import filter_message
from .notify import notify, notify_needed
from .places import Place, chain_index, dump_place, find_place
from .request import Datagram, Request


def new_filter(network: Network, request: Request) -> list[Datagram]:
    """tc_new_tfilter(): add, change or replace a filter."""
    prio, protocol = request.tcm.prio, request.tcm.protocol
    allocate = prio == 0
    if allocate and not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENOENT, "Invalid filter command with priority of zero")
    place = find_place(network, request)
    place.block.classid = place.parent
    chain = place.block.get_chain(chain_index(request))
    try:
        if allocate:
            prio = chain.auto_prio()
        found = None if allocate else chain.find(prio, protocol)
        classifier = found if found is not None else _new_classifier(request, chain, prio)
        try:
            return _change(network, request, place, classifier)
        except BaseException:
            if found is None:
                chain.remove_empty(classifier)
            raise
    finally:
        place.block.put_chain(chain)


def _new_classifier(request: Request, chain: Chain, prio: int) -> Classifier:
    """tcf_proto_create(), and what has to be said for it."""
    if request.kind is None or not request.tcm.protocol:
        raise NetlinkError(errno.EINVAL, "Filter kind and protocol must be specified")
    if not request.has(NLM_F_CREATE):
        raise _must_create()
    # Unlike kind_is, the look-up ends at a NUL inside the name; _change then finds the mismatch.
    if request.kind.payload.split(b"\0", 1)[0] != Classifier.kind.encode():
        raise NetlinkError(errno.ENOENT, "TC classifier not found")
    return chain.insert(prio, request.tcm.protocol)


def _change(network: Network, request: Request, place: Place, classifier: Classifier) -> list[Datagram]:
    """The part of tc_new_tfilter() that knows its classifier."""
    _check_same_kind(request, classifier)
    old = classifier.get(request.tcm.handle)
    if old is None and not request.has(NLM_F_CREATE):
        raise _must_create()
    if old is not None and request.has(NLM_F_EXCL):
        raise NetlinkError(errno.EEXIST, "Filter already exists")
    with place.block.grace_period():
        # The old filter still holds its actions when the new one is told.
        new = classifier.change(
            _bpf_options(request),
            request.tcm.handle,
            old,
            parent=place.parent,
            override=not request.has(NLM_F_CREATE),
        )
        request.warn(network.actions.take_warning())
        _tell(network, request, Rtm.NEWTFILTER, place, classifier, new)
    return []


def _tell(
    network: Network, request: Request, type: Rtm, place: Place, classifier: Classifier, each: Filter | None
) -> None:
    """tfilter_notify(): of a filter, or with None of a classifier with all of its filters."""
    if notify_needed(network, request):
        flags, warning = request.message.flags, request.warning
        told = filter_message(request, type, flags, place, classifier, each, warning=warning)
        notify(network, request, (told,))


def _must_create() -> NetlinkError:
    return NetlinkError(errno.ENOENT, "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter")


def _bpf_options(request: Request) -> BpfOptions:
    """What cls_bpf_change() takes of the attributes; it parses without an extack, so errors have no words."""
    nest = request.attrs.get(Tca.OPTIONS)
    if nest is None:
        raise NetlinkError(errno.EINVAL)
    try:
        found = parse_attrs(nest.payload, BPF, TCA_BPF_MAX, offset=nest.offset + NLA_HDRLEN).attrs
    except PolicyError as refused:
        raise NetlinkError(refused.errno or errno.EINVAL) from refused
    number = {key: attr.u32 for key, attr in found.items() if key in _U32}
    payload = {key: attr.payload for key, attr in found.items()}
    return BpfOptions(
        ops_len=found[TcaBpf.OPS_LEN].u16 if TcaBpf.OPS_LEN in found else None,
        ops=payload.get(TcaBpf.OPS),
        fd=number.get(TcaBpf.FD),
        name=found[TcaBpf.NAME].string if TcaBpf.NAME in found else None,
        flags=number.get(TcaBpf.FLAGS),
        flags_gen=number.get(TcaBpf.FLAGS_GEN),
        classid=number.get(TcaBpf.CLASSID),
        actions=found.get(TcaBpf.ACT),
        police=found.get(TcaBpf.POLICE),
        rate=request.attrs[Tca.RATE].payload if Tca.RATE in request.attrs else None,
    )


_U32 = frozenset({TcaBpf.FD, TcaBpf.FLAGS, TcaBpf.FLAGS_GEN, TcaBpf.CLASSID})


def delete_filter(network: Network, request: Request) -> list[Datagram]:
    """tc_del_tfilter(): a filter by handle, a whole prio without one, a whole chain without a prio."""
    tcm = request.tcm
    if not tcm.prio and (tcm.protocol or tcm.handle or request.kind is not None):
        raise NetlinkError(errno.ENOENT, "Cannot flush filters with protocol, handle or kind set")
    place = find_place(network, request)
    chain = place.block.find_chain(chain_index(request))
    if chain is None:
        joint = request.profile.joint_tfilter
        if not tcm.prio and not joint:
            return []
        raise NetlinkError(errno.EINVAL if joint else errno.ENOENT, "Cannot find specified filter chain")
    try:
        if not tcm.prio:
            flush_chain(network, request, place, chain)
        else:
            _delete(network, request, place, chain)
    finally:
        place.block.put_chain(chain)
    return []


def _delete(network: Network, request: Request, place: Place, chain: Chain) -> None:
    """The part of tc_del_tfilter() that knows its chain."""
    classifier = _find_classifier(request, chain)
    if not request.tcm.handle:
        chain.remove(classifier)
        _tell(network, request, Rtm.DELTFILTER, place, classifier, None)
        return
    each = classifier.get(request.tcm.handle)
    if each is None:
        raise NetlinkError(errno.ENOENT, "Specified filter handle not found")
    # Told as it was, which is made up before it goes.
    _tell(network, request, Rtm.DELTFILTER, place, classifier, each)
    if classifier.delete(each):
        chain.remove_empty(classifier)


def flush_chain(network: Network, request: Request, place: Place, chain: Chain) -> None:
    """tfilter_notify_chain() and tcf_chain_flush(): all classifiers go, one message each."""
    for classifier in chain.classifiers:
        _tell(network, request, Rtm.DELTFILTER, place, classifier, None)
    chain.flush()


def get_filter(network: Network, request: Request) -> list[Datagram]:
    """tc_get_tfilter(): one filter."""
    if not request.tcm.prio:
        raise NetlinkError(errno.ENOENT, "Invalid filter command with priority of zero")
    place = find_place(network, request)
    chain = place.block.find_chain(chain_index(request))
    if chain is None:
        # EINVAL here, ENOENT where a filter is deleted: so it is in the kernel.
        raise NetlinkError(errno.EINVAL, "Cannot find specified filter chain")
    try:
        classifier = _find_classifier(request, chain)
        each = classifier.get(request.tcm.handle)
        if each is None:
            raise NetlinkError(errno.ENOENT, "Specified filter handle not found")
        return [(filter_message(request, Rtm.NEWTFILTER, request.message.flags, place, classifier, each),)]
    finally:
        place.block.put_chain(chain)


def dump_filters(network: Network, request: Request) -> Iterator[Message]:
    """tc_dump_tfilter(): the filters of a place, each classifier's own message before its filters'.

    A chain, prio and protocol other than 0 select.  What is not there has nothing to show, which is no
    error.
    """
    place = dump_place(network, request)
    if place is None:
        return
    tcm, only_chain = request.tcm, request.number(Tca.CHAIN)
    terse = Tca.DUMP_FLAGS in request.attrs and bool(request.attrs[Tca.DUMP_FLAGS].u32 & TCA_DUMP_FLAGS_TERSE)
    for chain in place.block.chains.values():
        if chain.held_by_actions_only or only_chain not in (None, chain.index):
            continue
        for classifier in chain.classifiers:
            if tcm.prio not in (0, classifier.prio) or tcm.protocol not in (0, classifier.protocol):
                continue
            yield filter_message(request, Rtm.NEWTFILTER, NLM_F_MULTI, place, classifier, None)
            if terse and len(classifier):
                # cls_bpf has no terse form; the kernel gives up as if it had found no room.
                raise NetlinkError(errno.EMSGSIZE)
            for each in classifier:
                yield filter_message(request, Rtm.NEWTFILTER, NLM_F_MULTI, place, classifier, each)


def _find_classifier(request: Request, chain: Chain) -> Classifier:
    """The classifier of the request's prio, which its protocol (if any) and kind (if any) must fit."""
    classifier = chain.find(request.tcm.prio, request.tcm.protocol)
    if classifier is None:
        # 4.13 misses first what a new filter would need.
        lacks = request.kind is None or not request.tcm.protocol
        number = errno.EINVAL if request.profile.joint_tfilter and lacks else errno.ENOENT
        raise NetlinkError(number, "Filter with specified priority/protocol not found")
    _check_same_kind(request, classifier)
    return classifier


def _check_same_kind(request: Request, classifier: Classifier) -> None:
    if request.kind is not None and not request.kind_is(classifier.kind):
        raise NetlinkError(errno.EINVAL, "Specified filter kind does not match existing one")
