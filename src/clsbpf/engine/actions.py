"""Actions from a request's attributes: tcf_action_init(), as far as there are actions.

TCA_BPF_ACT holds up to 32 actions under the numbers 1 to 32, each a nest of its own with a kind and
options.  No kind of action is here yet, so that any action is answered as by a kernel that has not
the module of its kind; a list without actions is fine.
"""

from __future__ import annotations

import errno

from ..errors import NetlinkError
from ..netlink.attr import Attr, iter_attrs
from ..netlink.schema import TCA_ACT_MAX_PRIO, TcaAct
from ..tc.actions import NO_ACTIONS, Actions

IFNAMSIZ = 16


class NoActionKinds:
    """An `ActionSource` (`clsbpf.tc.actions`) that knows no kind of action."""

    def make(self, act: bytes | None, police: bytes | None, rate: bytes | None, override: bool) -> Actions:
        """tcf_exts_validate(): no actions, or NetlinkError for the first that is asked for.

        A policer (the form that TCA_BPF_POLICE has) comes before the list.
        """
        if police is not None:
            raise _unknown_kind()
        for number in _actions(act or b""):
            _load_ops(number)
        return NO_ACTIONS


def _actions(act: bytes) -> list[Attr]:
    """The actions 1 to 32 in order, up to the first number that is missing (tcf_action_init)."""
    by_number = {attr.type: attr for attr in iter_attrs(act)}
    found: list[Attr] = []
    for number in range(1, TCA_ACT_MAX_PRIO + 1):
        if number not in by_number:
            break
        found.append(by_number[number])
    return found


def _load_ops(action: Attr) -> None:
    """tc_action_load_ops()."""
    kinds = [attr.payload for attr in action.attrs() if attr.type == TcaAct.KIND]
    if not kinds:
        raise NetlinkError(errno.EINVAL, "TC action kind must be specified")
    if len(kinds[-1].rstrip(b"\0")) >= IFNAMSIZ:
        raise NetlinkError(errno.EINVAL, "TC action name too long")
    raise _unknown_kind()


def _unknown_kind() -> NetlinkError:
    return NetlinkError(errno.ENOENT, "Failed to load TC action module")
