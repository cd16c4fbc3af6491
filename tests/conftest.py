"""Shared by all tests: hypothesis runs the same examples every time, so a red run can be repeated; and
what the package keeps between runs is kept in a place of this run's own."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "clsbpf", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clsbpf")

_CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of one run inherit it
        config.stash[_CACHE] = os.environ["CLSBPF_CACHE"] = tempfile.mkdtemp(prefix="clsbpf-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)
