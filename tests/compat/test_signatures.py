"""Everything public of the reference is here, under the same name and with the same parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("programs") / "signatures.py"

#: What differs on purpose; `docs/design.md` says why.
INTENDED = (
    # typed=
    "fleche.fleche",
    "fleche.wrapper.fleche",
    "fleche.digest.digest",
    # remaining_depth=0, lock_timeout, prefix_length=None
    "fleche.storage.destructuring.DestructuringMixin.(parameters)",
    "fleche.storage.memory.ValueMemory.(parameters)",
    "fleche.storage.pickle_file.*PickleFile*.(parameters)",
    "fleche.storage.pickle_file.*PickleFile*.(fields)",
    "fleche.storage.bagofholding_file.*BagOfHoldingH5File*.(parameters)",
    # how things are done
    "fleche.storage.destructuring.Digested*.get",
    "fleche.storage.destructuring.Digested*.sunder",
    "fleche.storage.destructuring.Digested*.(abstract)",
    "fleche.storage.sql.*Model.*",
    "fleche.storage.sql.Sql.(fields)",
    "fleche.storage.sql.Sql.(parameters)",
    "fleche.wrapper.make_*",
    "fleche.wrapper.process_ignore_required_args",
    "fleche.*.digest",  # the function, where it is the module
    "fleche.call.FunctionProfile.(parameters)",
    "fleche.caches.ReadOnlyMixin.(bases)",
    "fleche.caches.ReadOnlyMixin.(abstract)",
    "fleche.query.QueryIterator.(bases)",
    # fleche.File
    "fleche.call.FunctionProfile.(fields)",
    # for type checkers
    "fleche.BoundWrapper.(bases)",
    "fleche.state.BoundWrapper.(bases)",
)


def surface(python: Path, folder: Path) -> dict[str, Any]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, PROGRAM], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def differences(
    reference_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Any, Any]]:
    """What the reference has and what we have, where it is not the same."""
    folder = tmp_path_factory.mktemp("signatures")
    theirs, ours = surface(reference_python, folder), surface(Path(sys.executable), folder)
    return {
        name: (shown, ours.get(name)) for name, shown in theirs.items() if ours.get(name) != shown
    }


def test_only_what_differs_on_purpose_differs(differences: dict[str, tuple[Any, Any]]) -> None:
    found = {
        name: difference
        for name, difference in differences.items()
        if not any(fnmatchcase(name, pattern) for pattern in INTENDED)
    }
    assert not found


@pytest.mark.parametrize("pattern", INTENDED)
def test_what_differs_on_purpose_still_does(
    differences: dict[str, tuple[Any, Any]], pattern: str
) -> None:
    assert any(fnmatchcase(name, pattern) for name in differences)
