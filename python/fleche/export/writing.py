"""Writing calls to a file that is handed on."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fleche import _core
from fleche._foundation.whole_files import new_file
from fleche.call import DigestedCall, LazyCall
from fleche.digest import Digest
from fleche.export.crate import crate_of
from fleche.export.format import (
    CRATE,
    FORMAT,
    MANIFEST,
    SIGNATURE,
    VERSION,
    Member,
    environment,
    message_of,
    name_of_code,
    record_to_json,
    to_json,
)
from fleche.export.keys import SigningKey, own_key, shown_public
from fleche.export.sources import source_of
from fleche.lineage import Index, Lineage, cache_of, lineage_of

__all__ = ["Exported", "export_calls"]

logger = logging.getLogger("fleche.export")

# No file tells when it was written: the same calls make the same file.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

# So many bytes tell whether the rest is worth compressing.
_TRIED = 1 << 16


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: the file.
        asked: the keys of the calls that were asked for.
        calls: the keys of all calls in it.
        values: how many values are in it.
        left_out: what is not in it, by key, and why.
    """

    path: Path
    asked: list[Digest]
    calls: list[Digest]
    values: int
    left_out: dict[str, str]


def export_calls(
    calls: Iterable[LazyCall],
    path: str | os.PathLike[str],
    *,
    with_lineage: bool = False,
    key: SigningKey | None = None,
    query: Sequence[str] = (),
    title: str | None = None,
) -> Exported:
    """Write calls with their arguments and results to one signed file.

    A call whose result cannot be read or pickled is left out; of an argument that cannot be, the
    digest alone is handed on, which is enough to find the call.

    Args:
        calls: what is handed on, as a query gives it.
        path: the file; what is there is replaced once the new one is whole.
        with_lineage: with the calls that made the arguments, those that made theirs, and so on.
        key: signs the file; the user's if not given.
        query: what was asked for, for the reader.
        title: what the file is called; its name if not given.

    Raises:
        ValueError: if there is no call to write.
        FileNotFoundError: if there is no key to sign with.
        OSError: if the file cannot be written.

    >>> import tempfile
    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> _ = cache.save(Call("square", {"x": 12}, result=144))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = export_calls(cache.query(), f"{folder}/one", key=SigningKey.generate())
    >>> len(done.calls), done.values, done.left_out
    (1, 2, {})
    """
    key = own_key() if key is None else key
    path = Path(path)
    asked = {call.to_lookup_key(): call for call in calls}
    chosen, edges = dict(asked), []
    if with_lineage:
        for lineage in _lineages(asked.values()):
            chosen.update(lineage.calls)
            edges += lineage.edges
    with new_file(path) as file, contextlib.closing(_Writer(file)) as writer:
        for call_key, call in sorted(chosen.items()):
            writer.add_call(call_key, call)
        if not writer.records:
            why = "; ".join(writer.left_out.values()) or "no call matches"
            raise ValueError(f"there is nothing to hand on: {why}")
        writer.add_code()
        members = dict(writer.members)
        crate = crate_of(title or path.name, writer.records, members, writer.values, writer.code)
        writer.add(CRATE, to_json(crate))
        present = [edge for edge in edges if {edge.maker, edge.taker} <= writer.records.keys()]
        manifest = to_json(
            {
                "format": FORMAT,
                "version": VERSION,
                "scheme": _core.scheme(),
                "query": [*query],
                "calls": sorted(str(held) for held in asked if held in writer.records),
                "lineage": sorted({(e.maker, e.taker, e.argument) for e in present}),
                "left_out": writer.left_out,
                "environment": environment(),
                "members": {
                    name: {"size": member.size, "sha256": member.sha256}
                    for name, member in writer.members.items()
                },
            }
        )
        writer.add(MANIFEST, manifest)
        signature = {
            "algorithm": "Ed25519",
            "public_key": shown_public(key.public),
            "signature": key.sign(message_of(manifest)).hex(),
        }
        writer.add(SIGNATURE, to_json(signature))
    return Exported(
        path,
        sorted(held for held in asked if held in writer.records),
        sorted(writer.records),
        len(set(writer.values.values())),
        writer.left_out,
    )


def _lineages(calls: Iterable[LazyCall]) -> Iterator[Lineage]:
    indices: list[tuple[Any, Index]] = []
    for call in calls:
        asked = cache_of(call)
        index = next((index for cache, index in indices if cache is asked), None)
        if index is None:
            index = Index(asked)
            indices.append((asked, index))
        yield lineage_of(call, index=index)


@dataclass
class _Writer:
    file: IO[bytes]
    members: dict[str, Member] = field(default_factory=dict)
    records: dict[Digest, DigestedCall] = field(default_factory=dict)
    values: dict[Digest, str] = field(default_factory=dict)
    code: dict[tuple[str | None, str], str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._zip = zipfile.ZipFile(self.file, "w")
        self._dumps = _pickler()

    def add(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, _NO_TIME)
        info.compress_type = _method_for(content)
        info.create_system, info.external_attr = 3, 0o644 << 16
        self._zip.writestr(info, content, compresslevel=1)
        if name not in (MANIFEST, SIGNATURE):
            self.members[name] = Member(len(content), hashlib.sha256(content).hexdigest())

    def add_call(self, key: Digest, call: LazyCall) -> None:
        record = call.detach()
        try:
            if not isinstance(record.result, Digest):
                raise KeyError("it has no result yet")
            content = record_to_json(record)
            self._add_value(record.result, call._stored_result)
        except Exception as error:
            # What is pickled is of users, and raises anything.
            self._leave_out(key, f"the call {record.name} {key[:8]}", error)
            return
        for name, digest in record.arguments.items():
            try:
                self._add_value(digest, lambda name=name: call.arguments[name])  # type: ignore[misc]
            except Exception as error:
                self._leave_out(digest, f"the argument {name} of {record.name} {key[:8]}", error)
        self.add(f"records/{key}.json", content)
        self.records[key] = record

    def _leave_out(self, key: Digest, what: str, error: Exception) -> None:
        logger.warning("%s is left out: %r", what, error)
        self.left_out.setdefault(str(key), f"{what}: {type(error).__name__}: {error}")

    def _add_value(self, named: Digest, load: Callable[[], Any]) -> None:
        if named in self.values:
            return
        value = load()
        if type(value) is Digest and value == named:
            raise KeyError("its value is not stored")
        # What a rule of the user says in scheme `sha256` may be any text.
        name = f"values/{_core.storage_key(named)}.pickle"
        if name not in self.members:
            self.add(name, self._dumps(value))
        self.values[named] = name

    def add_code(self) -> None:
        functions = {(record.module, record.name) for record in self.records.values()}
        for module, name in sorted(functions, key=str):
            text = source_of(module, name)
            if text is not None:
                member = self.code[module, name] = name_of_code(module, name)
                self.add(member, text.encode("utf-8", "surrogatepass"))

    def close(self) -> None:
        self._zip.close()


def _method_for(content: bytes) -> int:
    """How a member is compressed: measured numbers hardly are, and take long."""
    start = content[:_TRIED]
    worth = len(zlib.compress(start, 1)) < 0.9 * len(start)
    return zipfile.ZIP_DEFLATED if worth else zipfile.ZIP_STORED


def _pickler() -> Callable[[Any], bytes]:
    """Pickles classes of scripts with their values, if `cloudpickle` is installed."""
    try:
        from cloudpickle import dumps
    except ImportError:
        from pickle import dumps
    return lambda value: dumps(value, protocol=5)
