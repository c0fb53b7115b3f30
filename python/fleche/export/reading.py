"""Reading a file that was handed on: all of it is checked before anything is unpickled."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self

from fleche import _core
from fleche._foundation.errors import SaveError
from fleche.caches import BaseCache, Cache, Rejected
from fleche.caches.base import fetch_again
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.export.format import (
    FORMAT,
    MANIFEST,
    SIGNATURE,
    VERSION,
    Member,
    Refused,
    Untrusted,
    is_name_of_member,
    message_of,
    name_of_code,
    read_json,
    record_from_json,
)
from fleche.export.keys import YOU, fingerprint, own_key, read_public, shown_public, trusted_keys
from fleche.export.sources import is_same_code, source_of
from fleche.storage.base import StorageBackend, ValueMixin
from fleche.storage.memory import CallMemory

__all__ = ["ExportFile", "Imported", "import_calls"]

# What is read before the signature is known to hold.
_LONGEST_SIGNATURE, _LONGEST_MANIFEST = 4096, 1 << 28

_CHUNK = 1 << 20

# What damaged archives make `zipfile` and what is below it raise.
_DAMAGED = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, KeyError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, IndexError, struct.error),
)


class ExportFile:
    """A file that was handed on. It is whole, and signed by somebody who is trusted, or it is
    refused; nothing of it is unpickled before.

    Args:
        path: the file.
        trusted: public keys by the names of their owners; those that the user trusts, and the
            user's own, if not given.

    Raises:
        Untrusted: if somebody else signed it.
        Refused: if it is damaged, or was changed, or is no such file.
        OSError: if it cannot be read.

    >>> import tempfile
    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> from fleche.export import SigningKey, export_calls
    >>> cache, key = cache_from_config({"template": "memory"}), SigningKey.generate()
    >>> _ = cache.save(Call("square", {"x": 12}, result=144))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export_calls(cache.query(), f"{folder}/one", key=key)
    ...     with ExportFile(f"{folder}/one", trusted={"ada": key.public}) as file:
    ...         file.signer, file.cache().query().only().result
    ('ada', 144)
    """

    def __init__(
        self, path: str | os.PathLike[str], trusted: Mapping[str, bytes] | None = None
    ) -> None:
        self.path = os.fspath(path)
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open(path, "rb"))
            with _refusals(self.path):
                self._zip = stack.enter_context(zipfile.ZipFile(self._file))
                manifest = self._verified(trusted)
                self._read_manifest(manifest)
                self._check_members()
            #: The calls in it, by their keys.
            self.records: dict[Digest, DigestedCall] = self._read_records()
            self._stack = stack.pop_all()

    #: Who signed it, as the user calls them.
    signer: str
    #: The signer's public key.
    public: bytes
    #: What else it says: `query`, `calls`, `lineage`, `left_out`, `environment`.
    manifest: dict[str, Any]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its values cannot be read any longer."""
        self._stack.close()

    def cache(self) -> BaseCache:
        """The calls as a cache that is only read, as long as the file is open."""
        # A storage tells the age of records by the order of a dictionary.
        values, calls = _FileValues(self), CallMemory(dict(self.records))
        return Cache(values, calls).readonly()

    def code_of(self, record: DigestedCall) -> str | None:
        """The text of the function of a call, as it was where the file was written."""
        name = name_of_code(record.module, record.name)
        if name not in self._members:
            return None
        with _refusals(self.path):
            return self._read(name).decode("utf-8", "surrogatepass")

    def value_keys(self) -> list[Digest]:
        """The keys of the values in it."""
        start, end = len("values/"), len(".pickle")
        return [Digest(name[start:-end]) for name in self._members if name.startswith("values/")]

    def load_value(self, key: Digest | str) -> Any:
        """Unpickle a value of the file.

        Raises:
            KeyError: if it is not in it.
            Refused: if the file was changed since it was opened.
        """
        name = f"values/{key}.pickle"
        if name not in self._members:
            raise KeyError(key)
        with _refusals(self.path):
            content = self._read(name)
        return pickle.loads(content)

    def _verified(self, trusted: Mapping[str, bytes] | None) -> bytes:
        """The bytes of the manifest, if somebody who is trusted signed them."""
        infos = self._zip.infolist()
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) < len(infos):
            raise Refused("it has several members of one name")
        for name in (MANIFEST, SIGNATURE):
            if name not in self._infos:
                raise Refused(f"it has no {name}: it was not made by `fleche export`")
        held = read_json(self._content(SIGNATURE, most=_LONGEST_SIGNATURE), SIGNATURE)
        manifest = self._content(MANIFEST, most=_LONGEST_MANIFEST)
        try:
            self.public = read_public(str(held["public_key"]))
            signature = bytes.fromhex(str(held["signature"]))
        except (KeyError, ValueError):
            raise Refused(f"its {SIGNATURE} holds no signature") from None
        if not _core.is_signed_by(self.public, message_of(manifest), signature):
            raise Refused("its signature does not hold: it was changed, or is damaged")
        signer = _name_of(self.public, trusted)
        if signer is None:
            shown = shown_public(self.public)
            raise Untrusted(
                f"{self.path!r} is signed by a key that you do not trust, {shown} (fingerprint "
                f"{fingerprint(self.public)}). Loading it runs code of its signer. If this is the "
                f"key of somebody you trust, who told you so: `fleche key --trust NAME {shown}`",
                self.public,
            )
        self.signer = signer
        return manifest

    def _read_manifest(self, content: bytes) -> None:
        manifest = read_json(content, MANIFEST)
        if manifest.get("format") != FORMAT:
            raise Refused(f"its manifest is of the format {manifest.get('format')!r}")
        if manifest.get("version") != VERSION:
            raise Refused(
                f"it is of version {manifest.get('version')!r} of the format, and this fleche "
                f"reads {VERSION}: a newer fleche may read it"
            )
        members = manifest.pop("members", None)
        if not isinstance(members, dict):
            raise Refused("its manifest names no members")
        self._members = {}
        for name, held in members.items():
            if not is_name_of_member(name):
                raise Refused(f"it has a member that no such file has, {name!r}")
            try:
                size, digest = held["size"], held["sha256"]
            except (KeyError, TypeError):
                size, digest = None, None
            if not isinstance(size, int) or not isinstance(digest, str):
                raise Refused(f"its manifest does not say what {name} is")
            self._members[name] = Member(size, digest)
        present = self._infos.keys() - {MANIFEST, SIGNATURE}
        for name in sorted(present ^ self._members.keys()):
            raise Refused(f"{name!r} is {'not signed' if name in present else 'missing'}")
        scheme = manifest.get("scheme")
        if scheme != _core.scheme():
            raise Refused(
                f"its keys are of the digest scheme {scheme!r}, and {_core.scheme()!r} is in force "
                f"here, so that none of your calls would hit: read it with FLECHE_DIGEST={scheme}"
            )
        self.manifest = manifest

    def _check_members(self) -> None:
        for name in self._members:
            self._read(name, keep=False)

    def _read_records(self) -> dict[Digest, DigestedCall]:
        found = {}
        for name in sorted(self._members):
            if not name.startswith("records/"):
                continue
            with _refusals(self.path):
                record = record_from_json(self._read(name), name)
                key = record.to_lookup_key()
                if name != f"records/{key}.json":
                    raise Refused(f"{name} is the record of {key}")
                if f"values/{_core.storage_key(str(record.result))}.pickle" not in self._members:
                    raise Refused(f"it has no result of {name}")
                found[key] = record
        return found

    def _read(self, name: str, keep: bool = True) -> bytes:
        """A member, if it is what was signed."""
        member = self._members[name]
        if self._infos[name].file_size != member.size:
            raise Refused(f"{name} is not as long as was signed")
        digest, content = hashlib.sha256(), io.BytesIO()
        for chunk in self._chunks(name, member.size):
            digest.update(chunk)
            if keep:
                content.write(chunk)
        if digest.hexdigest() != member.sha256:
            raise Refused(f"{name} is not what was signed")
        return content.getvalue()

    def _content(self, name: str, most: int) -> bytes:
        return b"".join(self._chunks(name, most))

    def _chunks(self, name: str, most: int) -> Iterator[bytes]:
        """The bytes of a member, which may be no more than these."""
        length = 0
        with self._zip.open(self._infos[name]) as file:
            while chunk := file.read(min(_CHUNK, most - length + 1)):
                length += len(chunk)
                if length > most:
                    raise Refused(f"{name} is longer than it may be")
                yield chunk


def _name_of(public: bytes, trusted: Mapping[str, bytes] | None) -> str | None:
    """What the owner of a key is called, if it is trusted."""
    if trusted is None:
        trusted = trusted_keys()
        # Who has no key has signed nothing.
        with contextlib.suppress(OSError, ValueError):
            trusted = {**trusted, YOU: own_key().public}
    return next((name for name, held in trusted.items() if held == public), None)


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    """What goes wrong with the bytes of a file is a refusal that names it."""
    try:
        yield
    except Untrusted:
        raise
    except Refused as error:
        raise Refused(f"{path!r} is refused: {error}") from None
    except _DAMAGED as error:
        raise Refused(f"{path!r} is refused: it is damaged, or no export file: {error}") from error
    except OSError as error:
        # Looking for a place that a damaged archive names, and no file has.
        if error.errno != errno.EINVAL:
            raise
        raise Refused(f"{path!r} is refused: it is damaged: {error}") from error


@dataclass(frozen=True)
class _FileValues(ValueMixin, StorageBackend):
    """The values of a file."""

    file: ExportFile = field(repr=False)

    _put_replaces: ClassVar[bool] = True

    def put(self, value: Any, key: Digest) -> Digest:
        raise SaveError(f"{self.file.path!r} is only read")

    def get(self, key: Digest) -> Any:
        return self.file.load_value(key)

    def list(self) -> Iterable[Digest]:
        return self.file.value_keys()

    def _contains(self, key: Digest) -> bool:
        return f"values/{key}.pickle" in self.file._members

    def _evict(self, key: Digest) -> None:
        raise SaveError(f"{self.file.path!r} is only read")


@dataclass(frozen=True)
class Imported:
    """What was taken of a file.

    Args:
        signer: who signed it, as the user calls them.
        taken: how many calls were taken.
        present: how many were there already, and were left as they are.
        failed: the calls that could not be taken, and why.
    """

    signer: str
    taken: int
    present: int
    failed: dict[Digest, str]


def import_calls(
    path: str | os.PathLike[str],
    cache: BaseCache,
    *,
    any_code: bool = False,
    trusted: Mapping[str, bytes] | None = None,
    progress: Callable[[Iterable[Digest], str], Iterable[Digest]] = lambda keys, what: keys,
) -> Imported:
    """Take the calls of a file into a cache, so that equal calls hit from now on.

    The whole file is checked first: of one that is refused, nothing is taken. Calls that the cache
    has already are left as they are, so that what was interrupted goes on where it was.

    A function of a module is told by its name and version, not by its code. Calls of one whose text
    is another one here are not taken: they would hit, and give what the other one computed.

    Args:
        path: the file.
        cache: where to.
        any_code: take them all the same.
        trusted: public keys by the names of their owners; those that the user trusts, and the
            user's own, if not given.
        progress: called with the keys, and what is done; iterates over them.

    Raises:
        Untrusted: if somebody else signed it.
        Refused: if it is damaged, or was changed, or is no such file.
        Rejected: if the cache takes nothing.
        OSError: if it cannot be read.
    """
    taken, present = 0, 0
    failed: dict[Digest, str] = {}
    rejected: Rejected | None = None
    with ExportFile(path, trusted) as file:
        source, code = file.cache(), _Code(file)
        for key in progress(sorted(file.records), "Taking calls"):
            try:
                if not any_code:
                    code.check(file.records[key])
                took = _take(cache, source, key)
            except (OSError, Refused):
                raise
            except Exception as error:
                # What is unpickled is of users: a class that is not here, say.
                failed[key] = f"{type(error).__name__}: {error}"
                rejected = error if isinstance(error, Rejected) else rejected
                continue
            taken, present = taken + took, present + (not took)
        if rejected is not None and not taken and not present:
            raise rejected
        return Imported(file.signer, taken, present, failed)


class OtherCode(Exception):
    """A function is another one here than where a file was written."""


class _Code:
    """Which functions have the same code here."""

    def __init__(self, file: ExportFile) -> None:
        self._file = file
        self._known: dict[tuple[str | None, str], bool] = {}

    def check(self, record: DigestedCall) -> None:
        """
        Raises:
            OtherCode: if calls that were computed by other code would hit.
        """
        if record.code_digest is not None:
            # It counts in the key.
            return
        function = record.module, record.name
        if function not in self._known:
            there, here = self._file.code_of(record), source_of(*function)
            self._known[function] = there is None or here is None or is_same_code(there, here)
        if not self._known[function]:
            raise OtherCode(
                f"{record.module}.{record.name} has another text here than where this was computed "
                f"(`code/` in the file has it); --any-code, or any_code=True, takes it all the same"
            )


def _take(cache: BaseCache, source: BaseCache, key: Digest) -> bool:
    """Take one call, unless it is there; whether it was taken."""
    with cache._operation_context(key):
        if cache.contains(key):
            return False
        # Under the key that it was computed for: the reader's classes may be others by now.
        cache.save(fetch_again(source.load(key), key, keep=True))
        return True
