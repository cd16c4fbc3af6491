"""`clsbpf tc --kernel`: the same commands, carried out by the kernel's own classifier."""

from __future__ import annotations

import os
from contextlib import ExitStack

from ..errors import ClsbpfError
from ..kernel.netlink import NetlinkSocket, device_index, device_name, enter_namespace
from ..tccmd.errors import CommandError
from ..tccmd.options import Options
from ..tccmd.render import ProgramInfo
from ..tccmd.request import ObjectSource
from .tc_main import Seam


def kernel_seam(stack: ExitStack, options: Options) -> Seam:
    """The kernel as `clsbpf tc` needs it, in the network namespace that -n names."""
    if options.netns is not None:
        try:
            enter_namespace(options.netns)
        except ClsbpfError as error:
            raise CommandError(str(error), 255) from None
    kernel = stack.enter_context(NetlinkSocket())

    def load_object(source: ObjectSource) -> int:
        from .tc_load import load_into_kernel

        fd = load_into_kernel(source)
        stack.callback(os.close, fd)
        return fd

    return Seam(kernel.ask, device_index, device_name, _program, load_object, kernel.listen, kernel.receive)


def _program(id: int) -> ProgramInfo | None:
    """bpf_prog_get_fd_by_id() and what the kernel says of it; None without the right to ask."""
    from ..kernel.bpf import prog_fd_by_id, prog_info

    try:
        fd = prog_fd_by_id(id)
    except ClsbpfError:
        return None
    try:
        info = prog_info(fd)
    except ClsbpfError:
        return None
    finally:
        os.close(fd)
    return ProgramInfo(info.name, info.tag, info.jited, info.load_time, info.created_by_uid, info.btf_id)
