"""The network: devices and their names, qdiscs that come and go, blocks that devices share."""

from __future__ import annotations

import errno

import pytest

from clsbpf.engine.devices import Device, Network
from clsbpf.errors import ClsbpfError, NetlinkError
from clsbpf.link import LINK_LAYERS
from clsbpf.tc.filter import BpfOptions

RETURN_ALL = BpfOptions(ops_len=1, ops=bytes.fromhex("06000000ffffffff"))


def network(*names: str) -> tuple[Network, list[Device]]:
    made = Network()
    return made, [made.add_device(name) for name in names]


def test_devices_are_numbered_from_2_on_and_found_by_name_and_number() -> None:
    net, (lab0, lab1) = network("lab0", "lab1")
    far = net.add_device("far", 77)
    after = net.add_device("after")
    assert [device.ifindex for device in (lab0, lab1, far, after)] == [2, 3, 77, 78]
    assert net.ifindex("far") == 77
    assert net.device("lab1") is lab1
    assert (net.ifindex("nope"), net.device("nope")) == (None, None)
    assert list(net.devices.values()) == [lab0, lab1, far, after]


def test_a_device_has_a_link_layer_and_with_it_a_hardware_type() -> None:
    net, (lab0,) = network("lab0")
    assert lab0.hatype == 1
    assert net.add_device("tun0", link=LINK_LAYERS[101]).hatype == 0xFFFE


@pytest.mark.parametrize(
    ("name", "ifindex", "words"),
    [
        ("", None, "cannot name a device"),
        (".", None, "cannot name a device"),
        ("..", None, "cannot name a device"),
        ("a/b", None, "cannot name a device"),
        ("a:b", None, "cannot name a device"),
        ("a b", None, "cannot name a device"),
        ("a\0b", None, "cannot name a device"),
        ("x" * 16, None, "1 to 15 bytes"),
        ("é" * 8, None, "1 to 15 bytes"),
        ("lab0", None, "there is a device 'lab0' already"),
        ("lab1", 2, "ifindex 2 is 'lab0' already"),
        ("lab1", 0, "ifindex 0 is not within 1 to"),
        ("lab1", 1 << 31, "is not within"),
    ],
)
def test_devices_that_linux_would_not_have(name: str, ifindex: int | None, words: str) -> None:
    net, (lab0,) = network("lab0")
    with pytest.raises(ClsbpfError, match=words):
        net.add_device(name, ifindex)
    assert list(net.devices.values()) == [lab0]


def test_names_that_linux_has() -> None:
    names = ["x" * 15, "eth0.5", "veth@1", "-", "0", "é" * 7]
    _, devices = network(*names)
    assert [device.name for device in devices] == names


def test_a_new_qdisc_takes_the_place_of_the_old_and_its_filters_go() -> None:
    net, (lab0,) = network("lab0")
    clsact = net.attach(lab0, "clsact")
    chain = clsact.ingress.get_chain(0)
    chain.insert(1, 3).change(RETURN_ALL)
    clsact.ingress.put_chain(chain)
    lab0.ingress.stats.packets = 5
    lab0.ingress.stats.estimate(b"\0\1", net.clock)
    ingress = net.attach(lab0, "ingress")
    assert lab0.ingress is ingress
    assert (ingress.kind, ingress.egress) == ("ingress", None)
    assert not clsact.ingress.chains
    assert (lab0.ingress.stats.packets, lab0.ingress.stats.estimator) == (0, None)
    net.detach(lab0)
    assert lab0.ingress is None
    assert lab0.qdisc(0xFFFF0000) is None


def test_qdiscs_are_found_by_handle_but_none_by_0() -> None:
    net, (lab0,) = network("lab0")
    clsact = net.attach(lab0, "clsact")
    assert lab0.qdisc(0xFFFF0000) is clsact
    assert (lab0.qdisc(0), lab0.qdisc(0x10000)) == (None, None)


def test_a_shared_block_is_one_for_all_and_keeps_its_filters_until_the_last_goes() -> None:
    net, (lab0, lab1) = network("lab0", "lab1")
    first = net.attach(lab0, "clsact", ingress_block=22, egress_block=23)
    second = net.attach(lab1, "ingress", ingress_block=22)
    assert first.ingress is second.ingress is net.shared_block(22)
    assert [block.index for block in net.shared_blocks()] == [22, 23]
    assert net.ports(22) == {lab0.ifindex, lab1.ifindex}
    chain = first.ingress.get_chain(0)
    chain.insert(1, 3).change(RETURN_ALL)
    first.ingress.put_chain(chain)
    net.detach(lab0)
    assert len(second.ingress.chains[0].classifiers) == 1
    assert (net.shared_block(23), net.ports(23)) == (None, frozenset())
    net.detach(lab1)
    assert not second.ingress.chains
    assert net.shared_block(22) is None


@pytest.mark.parametrize(("ingress", "egress"), [(22, 0), (0, 22), (5, 5), (22, 5)])
def test_a_device_binds_a_shared_block_once(ingress: int, egress: int) -> None:
    net, (lab0,) = network("lab0")
    before = net.attach(lab0, "clsact", ingress_block=22)
    with pytest.raises(NetlinkError) as refused:
        net.attach(lab0, "clsact", ingress_block=ingress, egress_block=egress)
    assert refused.value.errno == errno.EBUSY
    assert lab0.ingress is before
    assert [block.index for block in net.shared_blocks()] == [22]


def test_generation_grows_with_what_comes_and_goes() -> None:
    net, (lab0,) = network("lab0")
    seen = [net.generation]
    net.attach(lab0, "clsact")
    seen.append(net.generation)
    net.detach(lab0)
    seen.append(net.generation)
    net.add_device("lab1")
    seen.append(net.generation)
    assert seen == sorted(set(seen))
