"""What `import clsbpf` shows: programs to try one by one, and an engine to hang them in.

    prog = clsbpf.Program.from_expression("tcp port 443")
    prog.test_run(packet).retval

    obj = clsbpf.Object.load("prog.o")
    obj.programs["classifier"].test_run(packet, skb={"mark": 3})

    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    engine.tc_batch("policy.tc")
    engine.run("trace.pcap", dev="lab0").summary()

Nothing is decided here: programs are checked by `bpf/` and run by `vm/`, an engine is a network of devices
(`engine/`).  Each name is imported when it is first asked for: what one needs is heavy for the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine
    from .filters import FilterText, filters_setup, split_object
    from .object import Object
    from .program import Program, TestRun, make_skb, make_socket

_HOME = {
    "Engine": "engine",
    "FilterText": "filters",
    "filters_setup": "filters",
    "split_object": "filters",
    "Object": "object",
    "Program": "program",
    "TestRun": "program",
    "make_skb": "program",
    "make_socket": "program",
}

__all__ = [
    "Engine",
    "FilterText",
    "Object",
    "Program",
    "TestRun",
    "filters_setup",
    "make_skb",
    "make_socket",
    "split_object",
]


def __getattr__(name: str) -> Any:
    """A name from the module that it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
