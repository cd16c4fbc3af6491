"""A command carried out: its messages to whoever answers, the answers to what tc prints.

`talk` is the seam to the kernel or to the engine: a function that takes one request's bytes and gives
the datagrams that answer it.  An empty yes, a dump or a refusal come back; a refusal is raised as the
CommandError (exit code 2) with the words that tc prints for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ClsbpfError
from ..netlink.attr import iter_attrs
from ..netlink.message import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Acknowledgement,
    Message,
    iter_messages,
    read_acknowledgement,
)
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TCMSG_LEN
from .errors import CommandError
from .options import Options
from .printer import Printer, json_text
from .render import NO_NAMES, Names, print_message
from .request import Command, Reply, Request, View

Talk = Callable[[bytes], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command that succeeded printed.

    `stdout` is tc's output, text or JSON as the options wanted; `rows` the same as Python values, None
    when the command shows nothing.  `stderr` are warnings and help, without the last newline.
    """

    stdout: str = ""
    rows: list[Any] | None = None
    stderr: str = ""


def perform(command: Command, talk: Talk, names: Names = NO_NAMES) -> Outcome:
    """Send the command's requests and render what comes back; CommandError when one is refused."""
    try:
        return _performed(command, talk, names)
    except CommandError as error:
        raise error.after(command.remarks) from error.__cause__


def _performed(command: Command, talk: Talk, names: Names) -> Outcome:
    shown: Outcome | None = None
    remarks = [*command.remarks, *filter(None, [command.usage])]
    for request in command.requests:
        if request.on_refusal is not None:
            command = replace(command, on_refusal=request.on_refusal)
        messages = _messages(talk(request.data))
        match request.reply:
            case Reply.ACK:
                remarks += _acknowledged(messages, command)
            case Reply.BLOCKS:
                _check_block(messages, request)
            case Reply.ANSWER | Reply.TALK | Reply.DUMP:
                assert command.view is not None
                shown = _show(messages, request, command, command.view, names, remarks)
    if command.failure is not None:
        if shown is not None:
            command.failure.stdout = shown.stdout
        raise command.failure
    stderr = "\n".join(remarks)
    return Outcome(stderr=stderr) if shown is None else Outcome(shown.stdout, shown.rows, stderr)


def _messages(datagrams: Iterable[bytes]) -> Iterator[Message]:
    for datagram in datagrams:
        yield from iter_messages(datagram)


def _acknowledged(messages: Iterator[Message], command: Command) -> list[str]:
    """rtnl_talk() without an answer: what the kernel remarks beside its yes."""
    for message in messages:
        if message.type == NLMSG_ERROR:
            answer = read_acknowledgement(message)
            if answer.errno:
                raise _refusal(answer, command.on_refusal, exit_code=command.refusal_exit)
            return [f"Warning: {_sentence(answer.extack.message)}"] if answer.extack.message else []
    raise ClsbpfError("the request was not acknowledged")


def _sentence(text: str) -> str:
    """print_ext_ack_msg(): the kernel's words end in a full stop."""
    return text if text.endswith(".") else text + "."


def _reason(answer: Acknowledgement) -> str:
    if answer.extack.message:
        return f"Error: {_sentence(answer.extack.message)}"
    return f"RTNETLINK answers: {os.strerror(answer.errno)}"


def _refusal(
    answer: Acknowledgement, on_refusal: str, *, stdout: str = "", exit_code: int = 2
) -> CommandError:
    """rtnl_talk_error()."""
    message = "\n".join(line for line in (_reason(answer), on_refusal) if line)
    return CommandError(message, exit_code, answer.errno, stdout=stdout)


_QUIET = (errno.ENOENT, errno.EOPNOTSUPP)


def _dump_refusal(message: Message, answer: Acknowledgement, stdout: str) -> CommandError:
    """rtnl_dump_done() and rtnl_dump_error(), then what the command says to it."""
    lines = ["Dump terminated"]
    if answer.extack.message or message.type == NLMSG_ERROR:
        # tc does not look at the explanation of a dump that never began.
        explained = message.type == NLMSG_DONE
        lines.insert(0, _reason(answer if explained else Acknowledgement(answer.errno)))
    elif answer.errno == errno.EMSGSIZE:
        lines.insert(0, "Error: Buffer too small for object.")
    elif answer.errno not in _QUIET:
        lines.insert(0, _reason(answer))
    return CommandError("\n".join(lines), 1, answer.errno, stdout=stdout)


def _check_block(messages: Iterator[Message], request: Request) -> None:
    """tc_qdisc_block_exists(): does a qdisc have this block?"""
    found = False
    for message in messages:
        if message.type in (NLMSG_DONE, NLMSG_ERROR):
            break
        if message.type == Rtm.NEWQDISC:
            for attr in iter_attrs(message.payload[TCMSG_LEN:]):
                if attr.type in (Tca.INGRESS_BLOCK, Tca.EGRESS_BLOCK) and attr.u32 == request.block:
                    found = True
    if not found:
        raise CommandError(f'Cannot find block "{request.block}"', word=str(request.block))


def _show(
    messages: Iterator[Message],
    request: Request,
    command: Command,
    view: View,
    names: Names,
    remarks: list[str],
) -> Outcome:
    """Render an answer, or a dump to its end."""
    out = _printer(view.options)
    is_class = request.message.type == Rtm.GETTCLASS
    graph: list[Message] = []
    for message in messages:
        if message.flags & NLM_F_DUMP_INTR and _INTERRUPTED not in remarks:
            remarks.append(_INTERRUPTED)
        if message.type in (NLMSG_DONE, NLMSG_ERROR):
            answer = read_acknowledgement(message)
            if answer.errno == 0:
                if graph:
                    from .class_graph import print_graph

                    print_graph(out, graph, view, names)
                return _outcome(out, view, is_class=is_class)
            if request.reply is not Reply.DUMP:
                raise _refusal(answer, command.on_refusal, exit_code=command.refusal_exit)
            raise _dump_refusal(message, answer, _outcome(out, view).stdout)
        if is_class and view.options.graph:
            graph.append(message)
            continue
        print_message(out, message, view, names)
        if request.reply is not Reply.DUMP:
            return _outcome(out, view)
    raise ClsbpfError("the reply ended before it was complete")


_INTERRUPTED = "Dump was interrupted and may be inconsistent."


def _printer(options: Options) -> Printer:
    return Printer("\\" if options.oneline else "\n", color=options.color == "always" and not options.json)


def _outcome(out: Printer, view: View, *, is_class: bool = False) -> Outcome:
    """What is printed; tc 6.1 has no JSON for classes, and prints text."""
    options = view.options
    as_json = options.json and not is_class
    stdout = json_text(out.rows, pretty=bool(options.pretty)) + "\n" if as_json else out.text
    return Outcome(stdout, out.rows)


def print_notification(message: Message, view: View, names: Names = NO_NAMES) -> Outcome:
    """tc monitor: one notification as tc prints it."""
    out = _printer(view.options)
    print_message(out, message, view, names)
    return _outcome(out, view)
