"""What programs read behind the context, against the kernel: fields of struct sk_buff, by address."""

from __future__ import annotations

import os

import pytest

from clsbpf.api import make_skb
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.objfile import machine_btf
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.helpers.kernel_context import layout
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.native_program import native_of
from judges import need_kernel
from program_traffic import TRAFFIC

FIELDS = ("len", "data_len", "protocol", "mark", "priority", "tc_index", "queue_mapping")
FIELDS += ("vlan_proto", "vlan_tci", "skb_iif", "tstamp", "transport_header")
"""(Not mac_len, which a test run leaves 0.)"""

READ = """
    r6 = r1
    {writes}
    *(u64 *)(r10 - 8) = 0
    r1 = r10
    r1 += -8
    r2 = {size}
    r3 = r6
    r3 += {at}
    call bpf_probe_read_kernel
    if r0 == 0 goto there
    r0 = 0x7777
    exit
    there: r0 = *(u64 *)(r10 - 8)
    r1 = r0
    r1 >>= 32
    r0 ^= r1
    exit
"""
WRITES = """
    *(u32 *)(r6 + 8) = 0x1234
    *(u32 *)(r6 + 32) = 77
    *(u32 *)(r6 + 44) = 9
    *(u32 *)(r6 + 12) = 3
    *(u64 *)(r6 + 152) = 123456789
"""
"""mark, priority, tc_index, queue_mapping, tstamp: the structure has at once what was written."""


def places() -> dict[str, tuple[int, int]]:
    """Where the fields are: byte offset and size."""
    types = machine_btf()
    if types is None:
        pytest.skip("this machine's kernel does not tell its types (no BTF)")
    return {name: (first // 8, bits // 8) for name, first, bits in layout(types, "sk_buff")[1]}


def texts() -> list[str]:
    found = places()
    one = [(found[name][0], found[name][1]) for name in FIELDS]
    # not the whole of one field: halves, and several at once
    parts = [(found["mark"][0] + 2, 2), (found["len"][0], 8), (found["tstamp"][0] + 4, 4)]
    return [READ.format(writes=w, at=at, size=size) for w in ("", WRITES) for at, size in (*one, *parts)]


def test_fields() -> None:
    """A field reads the same, before and after the context was written; a cut of several fields, too."""
    need_kernel()
    packets = [TRAFFIC[name] for name in ("syn", "udp", "full size")]
    told = 0
    for text in texts():
        spec = ProgramSpec("reads", insns=assemble(text), license="GPL")
        linked = link(spec, {}, verify(spec))
        loaded = prog_load(spec.insns)
        try:
            for packet in packets:
                expected = prog_test_run(loaded, packet).retval
                environment = Environment()
                for execute in (native_of(linked).run, lambda skb, e, p=linked: run(p, skb, environment=e)):
                    assert execute(make_skb(packet, {}), environment) == expected, text
                told += expected not in (0, 0x7777)
        finally:
            os.close(loaded)
    assert told > 30
