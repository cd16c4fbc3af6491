"""The help texts, in our own words and no longer than what is supported here."""

from __future__ import annotations

TC = """\
Usage: tc [OPTIONS] qdisc|class|filter|chain|actions COMMAND
       tc [OPTIONS] [-force] -batch FILE
       OPTIONS: -s[tats] -d[etails] -r[aw] -o[neline] -j[son] -p[retty] -br[ief] -N[umeric] -nm -cf FILE
                -n[etns] NAME -f[orce] -b[atch] FILE -V[ersion] -h[elp]"""

FILTER = """\
Usage: tc filter add|change|replace|delete dev NAME | block N
                 [root | ingress | egress | parent MAJ:MIN] [pref N] [protocol PROTO] [chain N]
                 [estimator INTERVAL TIME-CONSTANT] [handle N] bpf OPTIONS
       tc filter get dev NAME | block N  parent MAJ:MIN protocol PROTO pref N handle N bpf
       tc filter show [dev NAME | block N] [root | ingress | egress | parent MAJ:MIN]
                 [pref N] [protocol PROTO] [chain N]
                 (bpf OPTIONS: try tc filter add bpf help)"""

ACTIONS = """\
Usage: tc actions add|change|replace action SPEC [action SPEC …]
       tc actions get|delete action KIND index N [action KIND index N …]
       tc actions list|flush action KIND
       SPEC: KIND WORDS [index N] [cookie HEX] [hw_stats immediate|delayed|disabled] [skip_sw | skip_hw]
             (try tc actions add action help)"""

CHAIN = """\
Usage: tc chain add|delete|get|show dev NAME | block N
                [root | ingress | egress | parent MAJ:MIN] [chain N]"""

QDISC = """\
Usage: tc qdisc add|delete|replace|change|link dev NAME [root | parent MAJ:MIN] [handle N:]
                [estimator INTERVAL TIME-CONSTANT] [stab OPTIONS] [ingress_block N] [egress_block N]
                clsact | ingress | KIND OPTIONS
       tc qdisc show [dev NAME] [root | ingress | clsact | parent MAJ:MIN | handle N:] [invisible]
       KIND: htb, prio, tbf, codel, fq_codel, sfq, pfifo, bfifo, pfifo_head_drop, pfifo_fast
             (try tc qdisc add htb help)"""

CLASS = """\
Usage: tc class add|delete|replace|change dev NAME [classid MAJ:MIN] [root | parent MAJ:MIN]
                [estimator INTERVAL TIME-CONSTANT] KIND OPTIONS
       tc class show [dev NAME] [root | parent MAJ:MIN] [qdisc N:] [classid MAJ:MIN]
       KIND: htb (try tc class add htb help)"""

BPF = """\
Usage: ... bpf [run] PROGRAM [classid MAJ:MIN] [direct-action] [skip_hw | skip_sw] [action SPEC]
       PROGRAM: bytecode 'N,CODE JT JF K,…'          classic BPF; decimal numbers, N instructions
                bytecode-file FILE                   the same from a file, also as tcpdump -ddd prints it
                object-file FILE [section NAME] [program NAME] [export SOCKET] [verbose]
                object-pinned FILE                   an eBPF program pinned in the BPF file system
       MAJ:MIN is hexadecimal."""

ESTIMATOR = """\
Usage: ... estimator INTERVAL TIME-CONSTANT: times as 1s, 250ms, 4000000us; the interval is at most 8 s"""
