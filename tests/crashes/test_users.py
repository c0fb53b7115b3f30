"""Two users of one folder, one of whom may only read, or only reads."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Rejected

from .stores import STORES, made

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may become other users")

OWNER, READER, GROUP, NOBODY = 20001, 20002, 500, 65534

ran: list[int] = []


@fleche(hash_code=False)
def f(x: int) -> list[Any]:
    ran.append(x)
    return [x, [x]]


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str) -> Iterator[Path]:
    """A folder that others may enter."""
    folder = Path(tempfile.mkdtemp(prefix="fleche-users-"))
    folder.chmod(0o755)
    # The modules that this takes may be out of reach for others.
    with tempfile.TemporaryDirectory() as elsewhere:
        store = made(kind, Path(elsewhere, "store"))
        with cache(store):
            f(-1)
            f(-1)
            assert store.query().count() == 1
            store.evict(f.digest(-1))
            store.gc()
    ran.clear()
    yield folder
    shutil.rmtree(folder)


def as_user(user: int, work: Callable[[], Any], *, group: int = GROUP, umask: int = 0o002) -> Any:
    """What `work` returns, done by somebody else in a process of their own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.umask(umask)
            os.setgroups([group])
            os.setgid(group)
            os.setuid(user)
            answer = {"done": work()}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        with open(writing, "w") as pipe:
            pipe.write(json.dumps(answer))
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert "failed" not in answer, answer["failed"]
    return answer["done"]


def calls(kind: str, folder: Path, *numbers: int) -> Callable[[], Any]:
    """Which of the calls were computed, and which are there afterwards."""

    def work() -> Any:
        store = made(kind, folder / "store")
        with cache(store):
            for x in numbers:
                assert f(x) == [x, [x]]
            kept = [x for x in numbers if f.contains(x)]
        assert store.query().count() >= len(kept)
        return [list(ran), kept]

    return work


def test_a_store_that_may_only_be_read_gives_hits(kind: str, folder: Path) -> None:
    (folder / "store").mkdir()
    os.chown(folder / "store", OWNER, GROUP)
    assert as_user(OWNER, calls(kind, folder, 1, 2), umask=0o022) == [[1, 2], [1, 2]]
    before = tree(folder)
    assert as_user(NOBODY, calls(kind, folder, 1, 2), group=NOBODY) == [[], [1, 2]]
    # A miss is computed, and nothing else.
    assert as_user(NOBODY, calls(kind, folder, 1, 3), group=NOBODY) == [[3], [1]]
    assert tree(folder) == before
    assert as_user(OWNER, calls(kind, folder, 1, 4), umask=0o022) == [[4], [1, 4]]


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_who_only_reads_locks_nobody_out(kind: str, folder: Path, umask: int) -> None:
    group_folder(folder)
    assert as_user(OWNER, calls(kind, folder, 1, 2)) == [[1, 2], [1, 2]]
    for more in (3, 4):
        reads = as_user(READER, calls(kind, folder, 1, 2), umask=umask)
        assert reads == [[], [1, 2]]
        assert as_user(OWNER, calls(kind, folder, 1, more)) == [[more], [1, more]]


def test_both_write(kind: str, folder: Path) -> None:
    group_folder(folder)

    def evicts() -> Any:
        store = made(kind, folder / "store")
        store.evict(f.digest(0))
        # That of a bucket leaves a day's values alone.
        return len(store.gc()) > 0 or kind == "bucket"

    numbers = [*range(20)]
    assert as_user(OWNER, calls(kind, folder, *numbers)) == [numbers, numbers]
    for new, user in enumerate((READER, OWNER, READER), 100):
        assert as_user(user, calls(kind, folder, *numbers)) == [[], numbers]
        assert as_user(user, evicts)
        assert as_user(user, calls(kind, folder, 0, new)) == [[0, new], [0, new]]


def group_folder(folder: Path) -> None:
    (folder / "store").mkdir()
    os.chown(folder / "store", OWNER, GROUP)
    (folder / "store").chmod(0o2775)


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_the_umask_counts_for_every_file(kind: str, folder: Path, umask: int) -> None:
    group_folder(folder)

    def work() -> Any:
        store = made(kind, folder / "store")
        with cache(store):
            f(1)
            f(2)
            store.evict(f.digest(2))
            store.gc()
            f(3)
        # While the database is open: its log counts, too.
        modes = {}
        for path in (folder / "store").rglob("*"):
            if path.parent.name != ".locks" and path.name != ".locks":
                modes[str(path)] = path.stat().st_mode
        return modes

    modes = as_user(OWNER, work, umask=umask)
    assert modes
    for path, mode in modes.items():
        whole = 0o777 if stat.S_ISDIR(mode) else 0o666
        assert stat.S_IMODE(mode) & 0o777 == whole & ~umask, path


@pytest.mark.parametrize("kind", ["pickle", "bag"], indirect=True)
def test_gc_without_rights_says_so(kind: str, folder: Path) -> None:
    """The folders are everybody's, the lock files the first one's."""
    (folder / "store").mkdir()
    os.chown(folder / "store", OWNER, GROUP)
    as_user(OWNER, calls(kind, folder, 1, 2), umask=0o022)

    def evicted() -> None:
        made(kind, folder / "store").evict(f.digest(1))

    def collected() -> Any:
        try:
            return len(made(kind, folder / "store").gc())
        except Rejected as error:
            return str(error)

    as_user(OWNER, evicted, umask=0o022)
    said = as_user(NOBODY, collected, group=NOBODY)
    assert "gc has no right to evict values" in said
    assert str(folder / "store" / "values") in said
    for path in [folder / "store", *(folder / "store").rglob("*")]:
        if path.is_dir():
            path.chmod(0o777)
    before = tree(folder)
    said = as_user(NOBODY, collected, group=NOBODY)
    assert "gc has no right to evict values" in said
    assert str(folder / "store" / "values" / ".locks" / "collection") in said
    assert tree(folder) == before
    assert as_user(OWNER, collected, umask=0o022) > 0
