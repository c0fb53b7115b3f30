"""The reference package, to compare with: an environment and a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import pytest
from filelock import FileLock

from fleche import _core

ROOT = Path(__file__).parents[2]
ORACLE = Path(__file__).with_name("reference") / "oracle.py"
REFERENCE = "fleche==0.22.2"

#: What the reference must have in the version that the tests have: it decides the bytes.
SHARED = (
    *("numpy", "pandas", "pyarrow", "attrs", "sqlalchemy"),
    *("cloudpickle", "dill", "bagofholding", "h5py"),
)


def _requirements() -> list[str]:
    required = [REFERENCE]
    for name in SHARED:
        try:
            required.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            required.append(name)
    return required


def _build(folder: Path, requirements: Sequence[str]) -> None:
    venv.create(folder, with_pip=True, clear=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
    subprocess.run(install, check=True)


@pytest.fixture(scope="session")
def reference_python() -> Path:
    """An interpreter of this version that has the reference installed.

    `FLECHE_REFERENCE_PYTHON`, or one that is built once below `.reference`.
    """
    if given := os.environ.get("FLECHE_REFERENCE_PYTHON"):
        return Path(given)
    requirements = _requirements()
    identity = "\n".join([sys.version, *requirements])
    name = hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = ROOT / ".reference" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        complete = folder / "complete"
        if not complete.exists():
            _build(folder, requirements)
            complete.touch()
    return folder / "bin" / "python"


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
