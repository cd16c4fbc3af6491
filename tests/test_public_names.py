"""The public face: the names and parameters that users write.  A change here is a change for them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import clsbpf
from clsbpf.engine.results import Results

ERRORS = {
    "BytecodeError",
    "CaptureError",
    "ClsbpfError",
    "NetlinkError",
    "ObjectError",
    "ProgramFault",
    "RunError",
    "TcError",
    "VerifierError",
}
CLASSES = {"Engine", "Object", "Program"}

MEMBERS = {
    clsbpf.Program: {
        "disassemble",
        "from_bytecode",
        "from_expression",
        "from_instructions",
        "tag",
        "test_run",
    },
    clsbpf.Object: {"load"},
    clsbpf.Engine: {"add_device", "devices", "run", "tc", "tc_batch", "tc_words"},
}

PARAMETERS = {
    "Program.from_bytecode": ("text",),
    "Program.from_expression": ("expression",),
    "Program.from_instructions": ("raw", "maps", "type", "license", "verify"),
    "Program.test_run": ("packet", "skb", "repeat", "backend"),
    "Object.load": ("path",),
    "Engine.add_device": ("name",),
    "Engine.tc": ("line",),
    "Engine.tc_batch": ("path",),
    "Engine.run": ("captures", "dev", "hook", "columns"),
}
"""What the design fixes, in its order; more may follow."""


def test_the_names() -> None:
    assert set(clsbpf.__all__) == ERRORS | CLASSES
    for name in clsbpf.__all__:
        assert getattr(clsbpf, name).__module__.startswith("clsbpf.")


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_is_a_clsbpf_error(name: str) -> None:
    assert issubclass(getattr(clsbpf, name), clsbpf.ClsbpfError)


@pytest.mark.parametrize("cls", MEMBERS, ids=lambda cls: cls.__name__)
def test_the_members(cls: type) -> None:
    shown = {name for name in dir(cls) if not name.startswith("_")}
    assert shown == MEMBERS[cls]


def test_a_program_has_a_name_instructions_and_a_tag() -> None:
    program = clsbpf.Program.from_bytecode("1,6 0 0 0", name="drop")
    assert (program.name, len(program.instructions), program.tag) == ("drop", 1, None)


@pytest.mark.parametrize("path", PARAMETERS)
def test_the_parameters(path: str) -> None:
    cls, _, method = path.partition(".")
    found = [
        name for name in inspect.signature(getattr(getattr(clsbpf, cls), method)).parameters if name != "self"
    ]
    assert tuple(found[: len(PARAMETERS[path])]) == PARAMETERS[path]


def test_what_a_run_gives() -> None:
    assert {"summary", "to_arrow"} <= set(dir(Results))


def test_everything_public_says_what_it_is() -> None:
    for name in CLASSES:
        cls = getattr(clsbpf, name)
        assert cls.__doc__
        for member in (getattr(cls, each) for each in dir(cls) if not each.startswith("_")):
            assert inspect.getdoc(member)


def test_importing_is_light() -> None:
    """What is heavy comes when `Program` or `Engine` is first asked for."""
    code = "import sys, clsbpf; print({'numpy', 'llvmlite', 'pyarrow', 'clsbpf.api'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "set()\n"
