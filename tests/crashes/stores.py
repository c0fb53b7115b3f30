"""Stores of every kind, the operations that tests interrupt, and what must hold afterwards."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from fleche import cache as use_cache
from fleche import fleche, meta
from fleche.caches import Cache, SizeLimitedCache
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from fleche.storage import CallPickleFile, Sql, ValuePickleFile, ValueSqlite
from tests.unit.schemes import scheme

KEY = b"secret of the tests"
# The records that every store has before an operation begins, and those that operations add.
HELD, ADDED = (0, 1), (2,)
# In place of a version: the record is not there.
ABSENT = None

Expected = dict[int, set[int | None]]


def bags(root: Path, prefix_length: int = 0) -> Cache:
    from fleche.storage.bagofholding_file import CallBagOfHoldingH5File, ValueBagOfHoldingH5File

    return Cache(
        ValueBagOfHoldingH5File(root / "values", prefix_length=prefix_length),
        CallBagOfHoldingH5File(root / "calls", prefix_length=prefix_length),
    )


def pickles(root: Path, **options: Any) -> Cache:
    return Cache(
        ValuePickleFile(root / "values", **options), CallPickleFile(root / "calls", **options)
    )


def some_in_files() -> AbstractContextManager[object]:
    """Of what values in SQLite opened meanwhile save here, some lies in files beside."""
    return patch.object(ValueSqlite, "_largest", 100)


def sqlite(root: Path) -> Cache:
    with some_in_files():
        return Cache(ValueSqlite(root / "calls.db"), Sql(str(root / "calls.db")))


KINDS: dict[str, Callable[[Path], Cache]] = {
    "pickle": pickles,
    "signed": lambda root: pickles(root, secret_key=KEY, compress=True),
    "bags": bags,
    "sqlite": sqlite,
}
# HDF5 writes files of several keys itself: no system call of it is watched.
ALL_KINDS = {**KINDS, "bags of a prefix": lambda root: bags(root, prefix_length=1)}
PICKLED = ("pickle", "signed")


#: What tests of file systems and of users put in the place of a store, by its configuration.
STORES: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "cloudpickle", "compress": True},
    "signed": {"type": "dill", "secret_key": ["aa"]},
    "bag": {"type": "bagofholding_hdf"},
    "bags": {"type": "bagofholding_hdf", "prefix_length": 1},
    "sqlite": {"type": "sqlite"},
    "cbor": {"type": "cbor"},
    "bucket": {"type": "bucket"},
}


def made(kind: str, root: Path) -> Cache:
    """A store of such a kind, with all that it has in this folder."""
    values = dict(STORES[kind])
    if kind == "bucket":
        values["url"] = (root / "bucket").as_uri()
        calls = {**values, "mirror": str(root / "mirror")}
    elif kind == "sqlite":
        values["url"] = str(root / "calls.db")
        calls = {**values, "type": "sql"}
    else:
        calls = {**values, "root": str(root / "calls")}
        values["root"] = str(root / "values")
        if kind == "cbor":
            calls["type"] = "pickle"
    return cache_from_config({"values": values, "calls": calls})  # type: ignore[return-value]


def result_of(number: int, version: int = 0) -> list[Any]:
    """What call `number` returned; split into children when it is stored."""
    return [version, [f"row {number}"]]


def call_of(number: int, version: int = 0) -> Call:
    return Call("work", {"number": number}, {}, "m", 1, result=result_of(number, version))


def key_of(number: int) -> Digest:
    return call_of(number).to_lookup_key()


def fill(cache: Cache) -> None:
    for number in HELD:
        cache.save(call_of(number))


def version_in(cache: Cache, key: Digest, number: int) -> int | None:
    """The version of a record in a store, after everything of it was looked at."""
    try:
        call = cache.load(key)
    except KeyError:
        return ABSENT
    # Where an argument could not be stored, a warning said so, and its digest is recorded.
    assert call.arguments["number"] in (number, digest(number))
    version: int = call.result[0]
    assert call.result == result_of(number, version)
    return version


def check(cache: Cache, expected: Expected, *stale: Digest) -> dict[int, int | None]:
    """Every record is as it may be, and the store holds nothing else that is a record.

    Args:
        cache: the store, opened anew.
        expected: the versions that each record may have.
        stale: other keys that records may be under.

    Returns:
        The versions that the records have.
    """
    known = {key_of(number) for number in expected}
    versions: dict[int, int | None] = {}
    for number, allowed in expected.items():
        found = versions[number] = version_in(cache, key_of(number), number)
        assert found in allowed, f"record {number}: {found}, not one of {allowed}"
    keys = set(cache.calls.list())
    assert keys <= known | set(stale)
    names = [call.name for call in cache.query(name="work")]
    assert names == ["work"] * len(keys)
    return versions


def left_over(root: Path) -> list[Path]:
    """Temporary files in a folder."""
    return sorted(root.glob(".*.tmp"))


def check_left_overs(cache: Cache) -> None:
    """A listing sweeps what died; nobody holds a lock."""
    for storage in (cache.values, cache.calls):
        list(storage.list())
        root: Path | None = getattr(storage, "root", None)
        if root is not None:
            assert left_over(root) == []
            for path in (*root.glob(".locks/*"), *root.glob("*.lock")):
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    cache.save(call_of(99))
    assert version_in(cache, key_of(99), 99) == 0
    cache.evict(key_of(99))


@dataclass(frozen=True)
class Operation:
    """Something done to a store that may be stopped anywhere.

    Args:
        run: does it; calls its last argument with the number of each record that is done.
        expected: what may be there afterwards, if the records of these numbers were done and the
            others were under way or not begun.
        kinds: the kinds of store that it is for.
        prepare: what the store holds before, besides the records of `HELD`.
        stale: keys, besides their own, that records may be under.
        two: whether the operation has a second store, in the folder `other`.
        writes: whether it changes anything.
    """

    run: Callable[[Cache, Path, Callable[[int], None]], None]
    expected: Callable[[set[int]], Expected]
    kinds: Iterable[str] = tuple(KINDS)
    prepare: Callable[[Cache], None] = lambda cache: None
    stale: tuple[Digest, ...] = ()
    two: bool = False
    writes: bool = True


def _as_held(done: set[int]) -> Expected:
    return {number: {0} for number in HELD}


def _save(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for number in ADDED:
        cache.save(call_of(number))
        done(number)


def _save_over(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for number in HELD:
        cache.save(call_of(number, 1))
        done(number)


def _evict(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for number in HELD:
        cache.evict(key_of(number))
        done(number)


def _compress(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for storage in (cache.values, cache.calls):
        storage.compress_all()  # type: ignore[attr-defined]


def _decompress(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for storage in (cache.values, cache.calls):
        storage.decompress_all()  # type: ignore[attr-defined]


STALE = tuple(Digest(f"{number}f" * 32) for number in HELD)


def _age(cache: Cache) -> None:
    """Files the records under keys of a scheme that is no more."""
    for number, key in zip(HELD, STALE, strict=True):
        record = cache.calls.load(key_of(number))
        cache.calls.evict(key_of(number))
        cache.calls.put(record, key)  # type: ignore[attr-defined]


with scheme("sha256"):
    OLDER = tuple(call_of(number).to_lookup_key() for number in HELD)


def _as_the_reference(cache: Cache) -> None:
    """Files the records under the keys that the reference gives them."""
    for number in HELD:
        cache.evict(key_of(number))
        with scheme("sha256"):
            cache.save(call_of(number))


def work(number: int) -> list[Any]:
    """The function of the calls."""
    return result_of(number)


work.__module__ = "m"


def _refile(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    decorated = fleche(version=1, hash_code=False)(work)
    with use_cache(cache), meta():
        for number in HELD:
            assert decorated(number) == result_of(number)


def _redigest(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    # What cannot be moved stays, and is no error: nothing is reported as done.
    cache.redigest()


def _gc(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    cache.gc()


def _litter(cache: Cache) -> None:
    """Values that no call needs."""
    for number in range(2):
        cache.values.save(["unneeded", number])


def _move(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    cache.transfer(pickles(root / "other"), pop=True)


def _copy(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    cache.transfer(pickles(root / "other"), overwrite=True)


def _limited(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    limited = SizeLimitedCache(cache.values, cache.calls, max_size=len(HELD))
    for number in ADDED:
        limited.save(call_of(number))
        done(number)


def _read(cache: Cache, root: Path, done: Callable[[int], None]) -> None:
    for number in HELD:
        if cache.contains(key_of(number)):
            assert cache.expand(key_of(number)[:12]) == key_of(number)
            assert version_in(cache, key_of(number), number) in (0, ABSENT)
    assert len(list(cache.query(name="work"))) <= len(HELD)
    assert set(cache.calls.list()) <= {key_of(number) for number in HELD}
    list(cache.values.list())


def _changed(version: int | None, to: int | None, numbers: Iterable[int]) -> Any:
    """What may be there of records that go from one version to another, one after the other."""

    def expected(done: set[int]) -> Expected:
        changing = {n: {to} if n in done else {version, to} for n in numbers}
        return _as_held(done) | changing

    return expected


def _limited_to(done: set[int]) -> Expected:
    evicted = {number: {0, ABSENT} for number in HELD[: len(ADDED)]}
    return _as_held(done) | evicted | {n: {0} if n in done else {0, ABSENT} for n in ADDED}


OPERATIONS: dict[str, Operation] = {
    "save": Operation(_save, _changed(ABSENT, 0, ADDED)),
    "save over": Operation(_save_over, _changed(0, 1, HELD)),
    "evict": Operation(_evict, _changed(0, ABSENT, HELD)),
    "compress": Operation(_compress, _as_held, PICKLED),
    "decompress": Operation(_decompress, _as_held, PICKLED),
    "redigest": Operation(
        _redigest, _changed(ABSENT, 0, HELD), ("pickle",), prepare=_age, stale=STALE
    ),
    "redigest from the reference": Operation(
        _redigest,
        _changed(ABSENT, 0, HELD),
        ("pickle", "sqlite"),
        prepare=_as_the_reference,
        stale=OLDER,
    ),
    "refile": Operation(_refile, _changed(ABSENT, 0, HELD), prepare=_as_the_reference, stale=OLDER),
    "gc": Operation(_gc, _as_held, prepare=_litter),
    "move": Operation(_move, _changed(0, ABSENT, HELD), ("pickle", "sqlite"), two=True),
    "copy": Operation(_copy, _as_held, ("pickle",), two=True),
    "size limit": Operation(_limited, _limited_to),
    "read": Operation(_read, _as_held, writes=False),
}
CASES = [(name, kind) for name, operation in OPERATIONS.items() for kind in operation.kinds]


def prepare(root: Path, name: str, kind: str) -> None:
    """Makes the store that an operation begins with."""
    cache = KINDS[kind](root)
    fill(cache)
    OPERATIONS[name].prepare(cache)
    if isinstance(cache.calls, Sql):
        cache.calls._store.close()


def verify(root: Path, name: str, kind: str, done: set[int]) -> None:
    """Opens a store after an operation was stopped, and checks all that is promised."""
    operation, cache = OPERATIONS[name], KINDS[kind](root)
    expected = operation.expected(done)
    check(cache, expected, *operation.stale)
    if operation.stale:
        _check_once_more(cache, operation.stale)
    if operation.two:
        other = pickles(root / "other")
        for number in HELD:
            found = {version_in(held, key_of(number), number) for held in (cache, other)}
            assert found in ({0}, {0, ABSENT})
        check(other, {number: {0, ABSENT} for number in HELD})
    check_left_overs(cache)
    if operation.two:
        check_left_overs(pickles(root / "other"))
    if isinstance(cache.calls, Sql):
        cache.calls._store.close()


def _check_once_more(cache: Cache, stale: tuple[Digest, ...]) -> None:
    """Every record is there, under its own key or under another one."""
    for number, key in zip(HELD, stale, strict=True):
        places = [held for held in (key, key_of(number)) if cache.calls.contains(held)]
        assert places, f"record {number} is lost"
        for place in places:
            record = cache.calls.load(place)
            assert cache.values.load(Digest(record.result or "")) == result_of(number)


def copy(source: Path, to: Path) -> Path:
    """A copy of a store, to be spoiled."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to, symlinks=True)
    return to


def missing_digest() -> Digest:
    return digest("nothing has this digest")


class Step(NamedTuple):
    """Something that a process does which may be killed meanwhile.

    Args:
        name: one of `STEPS`.
        number: the record that it is about, if it is about one.
        version: the version of the record that it saves.
    """

    name: str
    number: int = 0
    version: int = 0


def take(cache: Cache, root: Path, step: Step) -> None:
    """Takes a step."""
    if step.name == "save":
        cache.save(call_of(step.number, step.version))
    elif step.name == "evict":
        cache.evict(key_of(step.number))
    else:
        OPERATIONS[step.name].run(cache, root, lambda number: None)


def after(versions: dict[int, int | None], step: Step) -> dict[int, int | None]:
    """The versions of all records after a step."""
    if step.name == "save":
        return versions | {step.number: step.version}
    if step.name == "evict":
        return versions | {step.number: ABSENT}
    return versions


# More of those that change records; a new operation that keeps them is added here.
STEPS = ("save", "save", "save", "save", "evict", "evict", "gc", "redigest", "copy")
STEPS_OF_PICKLES = (*STEPS, "compress", "decompress")
