"""Shared by all tests: hypothesis runs the same examples every time, so a red run can be repeated."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "clsbpf", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clsbpf")
