"""Whatever the policy and the capture, every way to run it gives the interpreter's counts, rows and state.

Ways: natively; each filter tried though it could be looked up; each looked up that can be; from a random
packet on natively, before in the interpreter; by three workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.engine import changeover, index, inorder, parallel, plan, plan_code
from clsbpf.engine.run import run
from policy_soup import engine_of, left_behind, policy
from run_cases import counts, pcap, pcapng, random_packets

LINK_TYPES = (1, 1, 1, 101, 113, 105)


def capture(random: Random, path: Path) -> str:
    packets = random_packets(random, 60)
    if random.random() < 0.3:
        cut = random.choice((14, 20, 34, 60))
        packets = [(time, data[:cut], max(length, len(data))) for time, data, length in packets]
    if random.random() < 0.4:
        path.write_bytes(pcapng(random, packets))
    else:
        snap_len = random.choice((262144, 262144, 64))
        path.write_bytes(pcap(packets, link_type=random.choice(LINK_TYPES), snap_len=snap_len))
    return str(path)


@contextlib.contextmanager
def in_a_way(way: str, random: Random) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        level = random.choice((0, 0, 1, 2))
        patched.setattr(plan_code, "level_for", lambda sizes: level)
        if way == "looked up":
            for module in (index, plan):
                patched.setattr(module, "MIN_FILTERS", 2)
            patched.setattr(index, "tries_are_faster", lambda *_: False)
        elif way == "changed over":
            wanted, take, prepared = random.randrange(1, 60), inorder._InOrder.take, changeover._until
            patched.setattr(changeover, "LARGE_INSNS", 0)
            patched.setattr(changeover, "PATIENCE", 0.0)
            patched.setattr(changeover, "STEP_BYTES", 1)

            def until(compiled: Any, *given: Any) -> Any:
                def count_and_take(walk: Any, *record: Any) -> None:
                    nonlocal wanted
                    take(walk, *record)
                    wanted -= 1
                    if not wanted:
                        compiled.result()

                patched.setattr(inorder._InOrder, "take", count_and_take)
                return prepared(compiled, *given)

            patched.setattr(changeover, "_until", until)
        elif way == "three workers":
            patched.setattr(parallel, "MIN_PIECE_BYTES", 4000)
            patched.setattr(parallel, "PIECE_BYTES_WITH_ROWS", 4000)
        yield


WAYS = ("native", "one by one", "looked up", "changed over", "three workers")


@pytest.mark.parametrize("seed", range(10))
def test_every_way_is_the_interpreters(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    hook, profile = random.choice(("ingress", "egress")), random.choice(("current", "current", "4.13"))
    lines = policy(random, hook, profile)
    paths = [capture(random, tmp_path / name) for name in "ab"]

    def outcome(way: str) -> Any:
        backend = "interpreter" if way == "interpreter" else "native"
        engine = engine_of(lines, backend, profile)
        told: list[Any] = []
        sent: list[Any] = []
        around = engine._network.actions.around
        around.say, around.sample = told.append, told.append
        setup = engine._setup(dev="v0", hook=hook, on_delivery=sent.append)
        assert setup.in_order is None
        with in_a_way(way, Random(seed)):
            results = run(
                paths,
                replace(setup, linear=way == "one by one"),
                backend=backend,
                columns=True,
                jobs=3 if way == "three workers" else 1,
            )
        *numbers, warnings = counts(results)
        warnings = [each for each in warnings if "read by one worker" not in each]
        return numbers, warnings, results.to_arrow(), left_behind(engine), told, sent

    assert outcome(WAYS[seed % len(WAYS)]) == outcome("interpreter")
