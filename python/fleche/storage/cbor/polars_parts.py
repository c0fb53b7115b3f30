"""polars' frames and series: as a stream of Arrow's format (IPC), which polars itself writes."""

from __future__ import annotations

import io
from typing import Any

import polars as pl

__all__ = ["put_together", "take_apart"]


def take_apart(value: Any) -> tuple[str, list[Any]]:
    """The kind and the parts of a frame or a series.

    Raises:
        TypeError: for anything else, and for columns of objects.
    """
    if type(value) is pl.DataFrame:
        return "polars.DataFrame", _parts(value)
    if type(value) is pl.Series:
        return "polars.Series", [value.name, *_parts(value.to_frame())]
    raise TypeError(f"polars' {type(value).__name__} is not among the data that is held")


def _parts(frame: Any) -> list[Any]:
    for name, kind in frame.schema.items():
        if _holds_objects(kind):
            raise TypeError(f"its column {name!r} is of objects")
    sink = io.BytesIO()
    if frame.width:
        frame.write_ipc_stream(sink, compression="uncompressed")
    flags = [column.flags for column in frame.get_columns()]
    order = [flag["SORTED_ASC"] - flag["SORTED_DESC"] for flag in flags]
    return [sink.getbuffer(), frame.height, order if any(order) else None]


def _holds_objects(kind: Any) -> bool:
    if kind == pl.Object:
        return True
    inner = getattr(kind, "inner", None)
    fields = getattr(kind, "fields", ())
    return (inner is not None and _holds_objects(inner)) or any(
        _holds_objects(field.dtype) for field in fields
    )


def put_together(kind: str, parts: list[Any]) -> Any:
    """What was taken apart.

    Raises:
        ValueError: if the parts are not those of the kind.
    """
    data, height, order = parts[-3:]
    if not isinstance(data, bytes):
        raise ValueError("a frame that is no bytes")
    try:
        frame = pl.read_ipc_stream(io.BytesIO(data), use_pyarrow=False) if data else _empty(height)
    except BaseException as error:
        # What polars does with bytes that are not its own.
        if type(error).__name__ == "PanicException":
            raise ValueError(f"polars cannot read it: {error}") from None
        raise
    if frame.height != height:
        raise ValueError("a frame of another shape than it says")
    if order is not None:
        columns = zip(frame.get_columns(), order, strict=True)
        frame = frame.with_columns([_sorted(column, each) for column, each in columns])
    if kind == "polars.DataFrame" and len(parts) == 3:
        return frame
    if kind == "polars.Series" and len(parts) == 4 and frame.width == 1:
        return frame.to_series().rename(parts[0])
    raise ValueError(f"{kind} has other parts")


def _sorted(column: Any, order: int) -> Any:
    """A column that knows in which order it is, if it is in that order."""
    if not order or not column.is_sorted(descending=order < 0):
        return column
    return column.set_sorted(descending=order < 0)


def _empty(height: int) -> Any:
    if height:
        raise ValueError("a frame without columns has no rows")
    return pl.DataFrame()
