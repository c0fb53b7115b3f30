"""The reference package, to compare with: an environment and a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from fleche import _core
from tests.compat import reference_environment

# Run as programs, in processes of their own.
collect_ignore = ["programs"]

ORACLE = Path(__file__).with_name("reference") / "oracle.py"


@pytest.fixture(scope="session")
def reference_python() -> Path:
    """An interpreter of this version that has the reference installed."""
    return reference_environment.reference_python()


class Reference:
    """A process in which the reference digests what the expressions make."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, ORACLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": ""},
        )

    def outcomes(self, expressions: Sequence[str]) -> list[list[str]]:
        """For each expression what `oracle.outcome` says."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the reference was started without pipes")
        process.stdin.write(json.dumps(list(expressions)) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the reference ended with code {process.wait()}")
        answer: list[list[str]] = json.loads(line)
        return answer

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def reference(reference_python: Path) -> Iterator[Reference]:
    """The reference, running."""
    with Reference(reference_python) as running:
        yield running


@pytest.fixture(scope="module")
def sha256() -> Iterator[None]:
    """Scheme `sha256` while the tests of a module run."""
    before = _core.scheme()
    _core.set_scheme("sha256")
    yield
    _core.set_scheme(before)
