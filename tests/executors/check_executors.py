"""Programs of docs/executors.md that are too large or slow for every run: `nox -s executors`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_executors import check


@pytest.mark.parametrize("executor", ["import ray", "from distributed"])
def test_a_sweep_goes_on_without_the_worker_that_was_killed(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check(executor, tmp_path)
