"""Calls as a `pandas.DataFrame`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from fleche.query.filed import filed_key
from fleche.query.reading import say_lost

if TYPE_CHECKING:
    import pandas

    from fleche.call import LazyCall
    from fleche.query.iterator import QueryIterator

logger = logging.getLogger("fleche.query")

# Times of `Runtime`, in seconds since 1970: shown as local time.
TIMES = ("timestart", "timestop")


def table(
    calls: QueryIterator,
    arguments: Iterable[str] | str | Literal[True],
    results: bool,
    shrink_keys: bool,
) -> pandas.DataFrame:
    """A row for each call; see `QueryIterator.table`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("table() needs pandas: pip install 'fleche[pandas]'") from error

    if isinstance(arguments, str):
        arguments = (arguments,)
    wanted = None if arguments is True else tuple(arguments)
    keys: list[str] = []
    rows = []
    times: set[str] = set()
    lost: list[LazyCall] = []
    for call in calls:
        keys.append(filed_key(call, calls.cache if calls.cache is not None else call._cache))
        rows.append(_row(call, wanted, results, lost))
        # Only those of metadata: arguments may have these names, too.
        times.update(name for held in call.metadata.values() for name in TIMES if name in held)
    if len(lost) > 1:
        logger.warning("%d results cannot be loaded, and are None in the table", len(lost))
    if shrink_keys and keys and calls.cache is not None:
        short = calls.cache.shrink(*keys)
        keys = [short] if isinstance(short, str) else list(short)
    frame = pandas.DataFrame(rows, index=[str(key) for key in keys])
    for column in TIMES:
        if column in times:
            frame[column] = local_times(frame[column])
    return frame


def _row(
    call: LazyCall, wanted: tuple[str, ...] | None, results: bool, lost: list[LazyCall]
) -> dict[str, Any]:
    """The columns of a call; `wanted` are the arguments to show, `None` for all of them."""
    row: dict[str, Any] = {"name": call.name, "module": call.module}
    if results:
        row["result"] = _result(call, lost)
    for metadata in call.metadata.values():
        row.update(metadata)
    lazy = call.arguments
    for name in lazy if wanted is None else wanted:
        column = name
        while column in row:
            column = f"a_{column}"
        row[column] = lazy.get(name)
    return row


def _result(call: LazyCall, lost: list[LazyCall]) -> Any:
    try:
        return call.result
    except KeyError as error:
        say_lost(call, error, lost)
        return None


def local_times(column: Any) -> Any:
    """A column of `TIMES` as times of the local zone."""
    import datetime

    import pandas

    zone = datetime.datetime.now().astimezone().tzinfo
    return pandas.to_datetime(column, unit="s", utc=True).dt.tz_convert(zone)
