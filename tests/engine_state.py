"""Everything that a network holds, as a value: equal ones have the same objects in the same places."""

from __future__ import annotations

from typing import Any

from clsbpf.engine.devices import Network
from clsbpf.tc.chain import Block


def state(network: Network) -> Any:
    """Devices, qdiscs, blocks with who holds their chains, classifiers and filters (the very objects)."""
    devices = [
        (device.name, device.ingress, device.ingress_estimator, [_block(b) for b in _blocks(device.ingress)])
        for device in network.devices.values()
    ]
    shared = [(network.ports(block.index), _block(block)) for block in network.shared_blocks()]
    return devices, shared, network.generation


def _blocks(qdisc: Any) -> tuple[Block, ...]:
    return qdisc.blocks if qdisc is not None else ()


def _block(block: Block) -> Any:
    chains = [
        (index, chain.references, chain.explicitly_created, [(c, c.filters) for c in chain.classifiers])
        for index, chain in block.chains.items()
    ]
    return block, block.index, chains
