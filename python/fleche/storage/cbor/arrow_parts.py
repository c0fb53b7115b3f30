"""Arrow data: as a stream of Arrow's own format (IPC), checked before it is used."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from fleche import _core

__all__ = ["put_together", "take_apart"]

# From so many bytes on it pays to look at a column's texts together.
_LARGE = 1 << 16


def _refuse(value: Any) -> TypeError:
    return TypeError(f"pyarrow's {type(value).__name__} is not among the data that is held")


def take_apart(value: Any) -> tuple[str, list[Any]]:
    """The kind and the parts of a table, batch, array, scalar, schema, field or type.

    Raises:
        TypeError: for anything else.
    """
    match value:
        case pa.Table():
            return "pyarrow.Table", [_stream(value.schema, value.to_batches())]
        case pa.RecordBatch():
            return "pyarrow.RecordBatch", [_stream(value.schema, [value])]
        case pa.ChunkedArray():
            batches = [_batch(chunk) for chunk in value.chunks]
            return "pyarrow.ChunkedArray", [_stream(_column(value.type), batches)]
        case pa.Array():
            return "pyarrow.Array", [_stream(_column(value.type), [_batch(value)])]
        case pa.Scalar():
            array = pa.array([value], type=value.type)
            return "pyarrow.Scalar", [_stream(_column(value.type), [_batch(array)])]
        case pa.Schema():
            return "pyarrow.Schema", [value.serialize().to_pybytes()]
        case pa.Field():
            return "pyarrow.Field", [pa.schema([value]).serialize().to_pybytes()]
        case pa.DataType():
            return "pyarrow.DataType", [_column(value).serialize().to_pybytes()]
    raise _refuse(value)


def put_together(kind: str, parts: list[Any]) -> Any:
    """What was taken apart.

    Raises:
        ValueError: if the parts are not those of the kind.
    """
    (data,) = parts
    if not isinstance(data, bytes):
        raise ValueError("Arrow data that is no bytes")
    if kind in ("pyarrow.Schema", "pyarrow.Field", "pyarrow.DataType"):
        schema = pa.ipc.read_schema(pa.BufferReader(data))
        if kind == "pyarrow.Schema":
            return schema
        field = schema.field(0)
        return field if kind == "pyarrow.Field" else field.type
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        schema, batches = reader.schema, [*reader]
    for batch in batches:
        _check(batch)
    if kind == "pyarrow.Table":
        return pa.Table.from_batches(batches, schema)
    if kind == "pyarrow.RecordBatch":
        (batch,) = batches
        return batch
    columns = [batch.column(0) for batch in batches]
    if kind == "pyarrow.ChunkedArray":
        return pa.chunked_array(columns, schema.field(0).type)
    (column,) = columns
    if kind == "pyarrow.Array":
        return column
    if kind == "pyarrow.Scalar":
        return column[0]
    raise ValueError(f"{kind} is not known")


def _check(batch: Any) -> None:
    # Of texts, which most large columns are, Arrow looks at one after the other.
    others = [
        column for column in batch.columns if not (column.nbytes >= _LARGE and _is_of_texts(column))
    ]
    batch.validate()
    for column in others:
        column.validate(full=True)


def _is_of_texts(column: Any) -> bool:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    column.validate()
    width = 4 if pa.types.is_string(kind) else 8
    _, offsets, data = column.buffers()
    if offsets is None or data is None:
        return False
    first, count = column.offset * width, (len(column) + 1) * width
    cut = memoryview(offsets).cast("B")[first : first + count]
    return _core.are_texts(cut, memoryview(data).cast("B"), width)


def _column(kind: Any) -> Any:
    return pa.schema([pa.field("", kind)])


def _batch(array: Any) -> Any:
    return pa.record_batch([array], schema=_column(array.type))


def _stream(schema: Any, batches: list[Any]) -> Any:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return memoryview(sink.getvalue()).cast("B")
