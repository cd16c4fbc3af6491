"""The options of `filter … bpf`: words to the attributes inside TCA_OPTIONS (tc/f_bpf.c).

A program comes in one of four modes (`program`); `run` before the mode may be left out, and any word
that is no option is taken for a mode as long as there is none yet.  The attributes stand in the order that tc
gives them: what the words say as they come (classid, actions), then the program, then the flags.
"""

from __future__ import annotations

from ..bpf.spec import SCHED_CLS
from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.schema import TCA_BPF_FLAG_ACT_DIRECT, ClsFlag, TcaBpf
from . import usage
from .actions import parse_actions, parse_own_police
from .errors import CommandError, duplicate
from .ids import parse_classid
from .program import Bytecode, Program, parse_program, program_attrs
from .request import Lookups
from .words import Words, matches, matches_any

_NUMBERS = (TcaBpf.OPS_LEN, TcaBpf.OPS, TcaBpf.FD, TcaBpf.NAME)


def parse_bpf_options(words: Words, lookups: Lookups, ifindex: int) -> list[Attr] | None:
    """bpf_parse_opt(): the attributes of TCA_OPTIONS; None when there are no words, hence no TCA_OPTIONS.

    `ifindex` is the filter's device, for a program that is to be offloaded.
    """
    if not words:
        return None
    attrs: list[Attr] = []
    program: Program | None = None
    flags = 0
    gen_flags = ClsFlag(0)
    while words:
        word = words.current
        if matches(word, "run"):
            words.next()
            if program is not None:
                duplicate("run", words.current)
            program = parse_program(words, lookups, SCHED_CLS)
        elif matches_any(word, "classid", "flowid"):
            classid = parse_classid(words.next())
            if classid is None:
                raise CommandError('Illegal "classid"', word=words.current)
            attrs.append(nla.u32(TcaBpf.CLASSID, classid))
            words.skip()
        elif matches_any(word, "direct-action", "da"):
            flags |= TCA_BPF_FLAG_ACT_DIRECT
            words.skip()
        elif matches(word, "skip_hw"):
            gen_flags |= ClsFlag.SKIP_HW
            words.skip()
        elif matches(word, "skip_sw"):
            gen_flags |= ClsFlag.SKIP_SW
            words.skip()
        elif matches(word, "action"):
            words.next()
            attrs.append(nla.nest(TcaBpf.ACT, parse_actions(words, lookups)))
        elif matches(word, "police"):
            words.next()
            attrs.append(nla.nest(TcaBpf.POLICE, parse_own_police(words)))
        elif matches(word, "help"):
            raise CommandError("", word=word, usage=usage.BPF)
        elif program is None:
            program = parse_program(words, lookups, SCHED_CLS)
        else:
            raise CommandError(f'What is "{word}"?', word=word, usage=usage.BPF)

    # No program is a classic one without instructions, which the kernel refuses: tc's mode 0 is bytecode.
    offloaded = ifindex if gen_flags & ClsFlag.SKIP_SW else 0
    attrs += program_attrs(program or Bytecode(()), lookups, _NUMBERS, offloaded)
    if gen_flags:
        attrs.append(nla.u32(TcaBpf.FLAGS_GEN, gen_flags))
    if flags:
        attrs.append(nla.u32(TcaBpf.FLAGS, flags))
    return attrs
