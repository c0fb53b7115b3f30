"""Ray's program of docs/executors.md: `nox -s ray` installs what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_executors import program, run


def test_a_sweep_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    said, runs, main = run(program("import ray"), tmp_path)
    assert said.splitlines()[-1] == f"{sum(x * x for x in range(1000))} 1000"
    assert (tmp_path / "killed").exists()
    assert sorted({x for x, _ in runs}) == [*range(1000)]
    assert [where for x, where in runs if x == 0] == [main]
