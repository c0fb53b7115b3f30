"""A sweep as a `pandas.DataFrame`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fleche.query.table import TIMES, local_times

if TYPE_CHECKING:
    import pandas

#: A call: its arguments, what became of it, its result, what it raised, and its metadata.
Row = tuple[dict[str, Any], str, Any, Exception | None, dict[str, dict[str, Any]]]


def table(labels: Iterable[str], rows: Iterable[Row]) -> pandas.DataFrame:
    """A row for each call.

    Args:
        labels: the names of the arguments.
        rows: the calls.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("table() needs pandas: pip install 'fleche[pandas]'") from error

    found = [*rows]
    columns = {
        "status": [status for _, status, *_ in found],
        "result": [result for _, _, result, *_ in found],
    }
    errors = [error for _, _, _, error, _ in found]
    if any(error is not None for error in errors):
        columns["error"] = errors
    recorded = [{k: v for held in row[-1].values() for k, v in held.items()} for row in found]
    for name in dict.fromkeys(name for held in recorded for name in held):
        columns[name] = [held.get(name) for held in recorded]
    shown: dict[str, list[Any]] = {}
    for label in labels:
        column = label
        while column in columns or column in shown:
            column = f"a_{column}"
        shown[column] = [arguments[label] for arguments, *_ in found]
    frame = pandas.DataFrame(
        # Whatever they are, they stay it.
        {
            name: pandas.Series(values, dtype=object).infer_objects()
            for name, values in {**shown, **columns}.items()
        }
    )
    for name in TIMES:
        if name in columns:
            frame[name] = local_times(frame[name])
    return frame
