"""Names for attributes: both ways from one list, unknown attributes kept; and the kernel's policies."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.netlink import attr as nla
from clsbpf.netlink import policy
from clsbpf.netlink import schema as tca
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.policy import PolicyError, parse_attrs
from clsbpf.netlink.schema import Tca, TcaBpf

CASES: list[tuple[tca.Schema, list[Attr], dict[str, Any]]] = [
    (
        tca.BPF_FILTER,
        [
            nla.string(Tca.KIND, "bpf"),
            nla.u32(Tca.CHAIN, 0),
            nla.nest(
                Tca.OPTIONS,
                [
                    nla.u32(TcaBpf.CLASSID, 0x10001),
                    nla.u16(TcaBpf.OPS_LEN, 1),
                    nla.binary(TcaBpf.OPS, bytes.fromhex("06000000ffffffff")),
                    nla.u32(TcaBpf.FLAGS_GEN, 8),
                ],
            ),
        ],
        {
            "kind": "bpf",
            "chain": 0,
            "options": {
                "classid": 0x10001,
                "ops_len": 1,
                "ops": bytes.fromhex("06000000ffffffff"),
                "flags_gen": 8,
            },
        },
    ),
    (
        tca.QDISC,
        [
            nla.string(Tca.KIND, "clsact"),
            nla.u32(Tca.INGRESS_BLOCK, 22),
            nla.nest(Tca.OPTIONS, []),
            nla.u8(Tca.HW_OFFLOAD, 0),
            nla.nest(Tca.STATS2, [nla.binary(tca.TcaStats.BASIC, bytes(16)), nla.u64(tca.TcaStats.PKT64, 1)]),
            nla.flag(Tca.DUMP_INVISIBLE),
        ],
        {
            "kind": "clsact",
            "ingress_block": 22,
            "options": b"",
            "hw_offload": 0,
            "stats2": {"basic": bytes(16), "pkt64": 1},
            "dump_invisible": True,
        },
    ),
    (tca.BPF, [nla.binary(99, b"??")], {"attr 99": b"??"}),
    (tca.BPF, [nla.binary(TcaBpf.CLASSID, b"\1")], {"attr 3": b"\1"}),
]


@pytest.mark.parametrize(("schema", "attrs", "named"), CASES)
def test_names_both_ways(schema: tca.Schema, attrs: list[Attr], named: dict[str, Any]) -> None:
    assert tca.to_named(attrs, schema) == named
    assert list(tca.to_named(attrs, schema)) == list(named)
    assert tca.from_named(named, schema) == attrs


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(nla.AttrError, match="no attribute 'clasid'; there are: act, police, classid"):
        tca.from_named({"clasid": 1}, tca.BPF)


RTM, BPF, DUMP = policy.RTM_TCA, policy.BPF, policy.TFILTER_DUMP
POLICY_CASES = [
    # policy, attribute, errno or 0
    (RTM, nla.binary(Tca.KIND, b""), errno.ERANGE),
    (RTM, nla.binary(Tca.KIND, b"bpf"), 0),  # a NUL is not asked for
    (RTM, nla.binary(Tca.RATE, bytes(2)), 0),
    (RTM, nla.binary(Tca.RATE, bytes(3)), errno.ERANGE),
    (RTM, nla.binary(Tca.STAB, b""), 0),
    (RTM, nla.binary(Tca.STAB, bytes(3)), errno.ERANGE),
    (RTM, nla.binary(Tca.STAB, bytes(4)), 0),
    (RTM, nla.binary(Tca.DUMP_INVISIBLE, b"\0"), errno.ERANGE),
    (RTM, nla.binary(Tca.CHAIN, bytes(3)), errno.ERANGE),
    (RTM, nla.binary(Tca.CHAIN, bytes(4)), 0),
    (RTM, nla.binary(Tca.CHAIN, bytes(5)), 0),  # longer is let pass, with a warning in the kernel's log
    (RTM, nla.binary(Tca.OPTIONS, b"\1"), 0),
    (BPF, nla.binary(TcaBpf.OPS_LEN, b"\0"), errno.ERANGE),
    (BPF, nla.binary(TcaBpf.OPS, bytes(8 * 4096)), 0),
    (BPF, nla.binary(TcaBpf.OPS, bytes(8 * 4096 + 1)), errno.ERANGE),
    (BPF, nla.binary(TcaBpf.NAME, b"x" * 256 + b"\0"), 0),
    (BPF, nla.binary(TcaBpf.NAME, b"x" * 257 + b"\0"), errno.EINVAL),
    (BPF, nla.binary(TcaBpf.NAME, b"x"), errno.EINVAL),
    (BPF, nla.binary(TcaBpf.NAME, b""), errno.EINVAL),
    (BPF, nla.binary(TcaBpf.NAME, b"x\0" + b"x" * 256), errno.ERANGE),
    (BPF, nla.binary(TcaBpf.FD, bytes(3)), errno.ERANGE),
    (DUMP, nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 1, 1)), 0),
    (DUMP, nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 0, 1)), 0),
    (DUMP, nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 1, 0)), errno.EINVAL),
    (DUMP, nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 2, 2)), errno.EINVAL),
    (DUMP, nla.binary(Tca.DUMP_FLAGS, struct.pack("=I", 1)), errno.ERANGE),
]


@pytest.mark.parametrize(("rules", "attr", "code"), POLICY_CASES)
def test_policies(rules: policy.Policy, attr: Attr, code: int) -> None:
    data = nla.encode_attrs([nla.u8(40, 0), attr])
    if not code:
        assert parse_attrs(data, rules, 16).attrs == {attr.type: attr}
        return
    with pytest.raises(PolicyError) as refused:
        parse_attrs(data, rules, 16, offset=36)
    assert (refused.value.errno, refused.value.offset) == (code, 44)
    assert refused.value.extack == "Attribute failed policy validation"
    assert refused.value.rule == rules[attr.type]


def test_of_several_the_last_counts_and_unknown_ones_are_skipped() -> None:
    data = nla.encode_attrs([nla.u32(11, 1), nla.u32(17, 9), nla.u32(0, 9), nla.u32(11, 2)])
    assert parse_attrs(data, RTM, tca.TCA_MAX).attrs == {11: nla.u32(11, 2)}


def test_bytes_left_over_are_only_remarked_upon() -> None:
    parsed = parse_attrs(nla.encode_attrs([nla.u32(11, 1)]) + b"\1", RTM, tca.TCA_MAX)
    assert parsed == policy.Parsed({11: nla.u32(11, 1)}, "bytes leftover after parsing attributes")


@given(st.binary(max_size=80), st.sampled_from([RTM, BPF, DUMP]))
def test_fuzz_any_bytes_against_a_policy(data: bytes, rules: policy.Policy) -> None:
    """Whatever the bytes, what parse_attrs lets pass can be read as its rule says."""
    try:
        parsed = parse_attrs(data, rules, 16)
    except PolicyError:
        return
    for number, attr in parsed.attrs.items():
        match rules[number].kind if number in rules else None:
            case policy.Nla.U32:
                assert attr.u32 >= 0
            case policy.Nla.U16:
                assert attr.u16 >= 0
            case policy.Nla.NUL_STRING:
                assert len(attr.string) <= rules[number].length
