"""Everything that a network holds, as a value: equal ones have the same objects in the same places."""

from __future__ import annotations

from typing import Any

from clsbpf.engine.devices import Network
from clsbpf.tc.chain import Block
from clsbpf.tc.qdiscs.qdisc import Qdisc


def state(network: Network) -> Any:
    """Devices, qdiscs, classes, blocks with who holds their chains, filters (the very objects)."""
    devices = [
        (device.name, [_qdisc(qdisc) for qdisc in device.qdiscs()]) for device in network.devices.values()
    ]
    shared = [(network.ports(block.index), _block(block)) for block in network.shared_blocks()]
    return devices, shared, network.generation


def _qdisc(qdisc: Qdisc) -> Any:
    values = {
        name: getattr(qdisc, name)
        for name in ("stab", "limit", "bands", "priomap", "rate2quantum", "defcls", "direct_qlen")
        if hasattr(qdisc, name)
    }
    values["estimator"] = qdisc.stats.estimator
    classes = [_class(qdisc, class_) for class_ in qdisc.walk()]
    return qdisc, values, classes, [_block(block) for block in qdisc.blocks]


def _class(qdisc: Qdisc, class_: Any) -> Any:
    held = [getattr(class_, name, None) for name in ("options", "level", "children", "filters", "parent")]
    return class_, held, qdisc.leaf(class_)


def _block(block: Block) -> Any:
    chains = [
        (index, chain.references, chain.explicitly_created, [(c, c.filters) for c in chain.classifiers])
        for index, chain in block.chains.items()
    ]
    return block, block.index, chains
