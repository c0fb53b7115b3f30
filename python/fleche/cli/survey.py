"""What a whole cache holds, by function, read by the core: for stores of millions of calls.

Caches of one pair of storages that the core reads itself come here; others are walked in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.call.ages import runtime_of, stopped_at

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache

__all__ = ["plain", "records_of", "room_of", "survey_of"]

_PICKLES = ("pickle", "cloudpickle", "dill")


def plain(cache: BaseCache) -> Cache | None:
    """The pair of storages that a cache is, looked at or not; `None` if it is more than one."""
    from fleche.caches import Cache, ReadOnlyCache

    while type(cache) is ReadOnlyCache:
        cache = cache.cache
    return cache if type(cache) is Cache else None


def survey_of(
    pair: Cache, progress: Callable[[Iterable[Any], str], Iterable[Any]], needs: bool
) -> _core.Survey | None:
    """What the records of a cache are of; `None` if it has to be walked.

    Args:
        pair: the cache.
        progress: shows how far it is.
        needs: whether the values that calls need are asked for.
    """
    from fleche.storage.pickle_file import CallPickleFile
    from fleche.storage.sql import Sql

    calls: Any = pair.calls
    if needs and not _are_measured(pair.values):
        return None
    survey = _core.Survey()
    if type(calls) is Sql and isinstance(calls._store, _core.SqliteStore):
        survey.read_database(calls._store, needs)
        return survey
    if type(calls) is not CallPickleFile or calls.serializer not in _PICKLES:
        return None
    for key in progress(_unread(survey, calls), "Reading records"):
        record = calls._load_or_none(key)
        if record is not None:
            from fleche.cli.needs import held_by

            held = [*held_by(record)]
            times = runtime_of(record), stopped_at(record)
            survey.add(record.name, record.module, *times, held)
    return survey


def _unread(survey: _core.Survey, calls: Any) -> Iterator[Any]:
    survey.list(calls._handle)
    while (others := survey.read(calls._handle)) is not None:
        yield from others


def _are_measured(values: Any) -> bool:
    """Whether the core can tell what values take, and what they consist of."""
    from fleche.storage.pickle_file import ValuePickleFile
    from fleche.storage.sqlite import ValueSqlite

    return type(values) in (ValuePickleFile, ValueSqlite) and values.serializer in _PICKLES


def room_of(pair: Cache, survey: _core.Survey) -> _core.Room:
    """What the values of a cache take."""
    values: Any = pair.values
    return survey.measure(values._handle)


def records_of(pair: Cache, survey: _core.Survey) -> tuple[int, int, int | None]:
    """How many records there are, their bytes, and, of files, what they take on the disk;
    of a cache that was surveyed with needs."""
    calls: Any = pair.calls
    if isinstance(getattr(calls, "_store", None), _core.SqliteStore):
        return *survey.records(), None
    return _core.measure_folder(calls.root)
