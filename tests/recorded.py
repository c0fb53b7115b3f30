"""Stores that the reference wrote, as they are kept in `tests/data`."""

from __future__ import annotations

import tarfile
from pathlib import Path

DATA = Path(__file__).parent / "data"


def unpacked(version: str, folder: Path) -> Path:
    """The folder with a copy of the stores of a version, below `folder`."""
    name = f"fleche-{version}"
    # Python has filters from 3.11.4 on, and warns of their absence from 3.12 on.
    filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(DATA / f"stores-{name}.tar.gz") as archive:
        archive.extractall(folder, **filters)  # type: ignore[arg-type]
    return folder / name
