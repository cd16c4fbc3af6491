"""A plan's text is the same in every process: what it reaches of this one comes by symbol."""

from __future__ import annotations

import pytest

from clsbpf.api import FilterText, filters_setup
from clsbpf.engine import plan, plan_code
from clsbpf.engine.plans import Plans
from clsbpf.link import link_layer
from clsbpf.vm import jit


@pytest.mark.parametrize("count", [2, 40], ids=["tried one by one", "looked up"])
def test_plans_of_one_policy_have_one_text(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def note(text: str, *, optimize: int = 2) -> bytes:
        texts.append(text)
        return jit.optimized_object(text, 0)

    monkeypatch.setattr(jit, "compile_object", note)
    monkeypatch.setattr(plan_code, "compile_object", note)
    monkeypatch.setattr(plan, "plan_key", lambda *given: None)
    kept = []
    for _ in range(2):
        filters = [FilterText("expression", f"tcp port {1000 + number}") for number in range(count)]
        plans = Plans(filters_setup(filters, profile="current", backend="native"))
        kept.append(plans.plan(link_layer(1)).pcap)
    assert len(texts) == 2
    assert texts[0] == texts[1]
