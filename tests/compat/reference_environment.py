"""The environment that holds the reference package, for tests and benchmarks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
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


def reference_python() -> Path:
    """Return an interpreter of this version that has the reference installed.

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
