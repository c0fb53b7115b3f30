"""A cache on another machine."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.caches import BaseCache, Rejected
from fleche.caches.base import Saveable
from fleche.call import (
    Call,
    DigestedCall,
    LazyCall,
    PreparedCall,
    QueryCall,
    warn_of_unsaved_argument,
)
from fleche.call.outcomes import stored_result
from fleche.digest import DIGEST_LENGTH, Digest
from fleche.query import Matcher
from fleche.remote import records
from fleche.remote.connection import Connection
from fleche.remote.frames import LARGE, Frame, Packed, pack
from fleche.remote.process import Target
from fleche.storage.base import Intent

if TYPE_CHECKING:
    from fleche.remote.connection import Server
    from fleche.storage.claims import Claims

logger = logging.getLogger("fleche.remote")

# Where a prepared call keeps its pickled arguments until it is committed.
_SEALED = "_sealed"


@dataclass(frozen=True)
class SshCache(BaseCache):
    """A cache on another machine, reached over `ssh`.

    The first operation runs `ssh host python -m fleche remote --serve`, which serves the cache
    that is configured there; all later operations, of all threads, go through that one connection.
    It ends with the program, or by `close`. A lost one is not made again by itself, as that may
    ask for a second factor: call `reconnect`.

    Args:
        host: as `ssh` takes it: `user@host`, or a name from `~/.ssh/config`.
        cache_name: the cache on the other machine; its default one if not given.
        python: the interpreter there.
        ssh_options: options of `ssh`, word by word.
        setup_commands: shell commands to run there before the server; one that fails ends it.
        workdir: the folder there in which to run them, and the server.

    Raises:
        ValueError: if `host` is none.
        TypeError: if a string is given in place of a list of them.

    The operations raise, besides what they raise in any cache:

    - `RemoteConnectionError`: if there is no connection, or it is lost;
    - `ImportError`: if the package `cloudpickle` is not installed.

    >>> SshCache("user@bigpc.example.com", cache_name="shared", workdir="~/project")
    ... # doctest: +NORMALIZE_WHITESPACE
    SshCache(host='user@bigpc.example.com', cache_name='shared', python='python3', ssh_options=(),
             setup_commands=(), workdir='~/project')
    """

    host: str
    cache_name: str | None = None
    python: str = "python3"
    ssh_options: tuple[str, ...] = ()
    setup_commands: tuple[str, ...] = ()
    workdir: str | None = None
    _conn: Connection = field(init=False, repr=False, compare=False)
    _locks: _core.KeyLocks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.host or self.host.startswith("-"):
            raise ValueError(f"host: {self.host!r} is none; give it as ssh takes it, 'user@host'")
        for name in ("ssh_options", "setup_commands"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise TypeError(f"{name}: expected a list of strings, not the string {given!r}")
            object.__setattr__(self, name, tuple(given))
        self._set_up()

    def _set_up(self) -> None:
        target = Target(**{f.name: getattr(self, f.name) for f in fields(Target)})
        object.__setattr__(self, "_conn", Connection(target))
        object.__setattr__(self, "_locks", _core.KeyLocks())

    # A copy, here or in another process, makes a connection of its own.
    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self._set_up()

    def close(self) -> None:
        """End the connection; the next operation makes one."""
        self._conn.close()

    def reconnect(self) -> None:
        """End the connection, lost or not; the next operation makes a new one."""
        self._conn.close()

    def info(self, *, refresh: bool = True) -> dict[str, Any]:
        """What the server says of itself.

        Args:
            refresh: ask it, even if it was asked before.

        Returns:
            `cache` (its configuration, without secrets), `cache_name`, `read_only`,
            `fleche_version`, `cloudpickle_version`, `cwd`, `hostname`, `python` (the interpreter),
            `pid`; of a server that is no older than this client also `protocol`, `digest` (the
            scheme in force), `schemes` (those that its keys may be of) and `python_version`.
        """
        server = self._conn.known_server()
        if refresh:
            return dict(self._answer("info", pack(("info", (), {}), plain=True)))
        return copy.deepcopy(server.info)

    @property
    def read_only(self) -> bool:
        """Whether the served cache refuses to save and to evict."""
        return self._conn.known_server().read_only

    def save(self, call: Saveable) -> Digest:
        server = self._conn.server()
        if server.read_only:
            raise Rejected("Cannot save to a read-only remote cache", self.host, self.cache_name)
        if isinstance(call, PreparedCall):
            return self._commit(call, server)
        if isinstance(call, Call) and server.extended:
            return Digest(self._answer("save", self._packed_call("save", call, call.digest())))
        return Digest(self._ask("save", call))

    def prepare(self, call: Call) -> PreparedCall:
        server = self._conn.server()
        record = call.digest()
        if server.read_only:
            return PreparedCall(record, self)
        if call.result is not None or not server.extended:
            return PreparedCall(self._ask("prepare", call), self)
        packed = self._packed_call("prepare", call, record)
        if packed.nbytes() < LARGE:
            # They travel together with the result.
            record.__dict__[_SEALED] = b"".join(packed.pieces)
        else:
            # The body may change its arguments: what is too large to copy is sent now.
            self._answer("prepare", packed)
        return PreparedCall(record, self)

    def _packed_call(self, method: str, call: Call, record: DigestedCall) -> Packed:
        """A request with a call, without those of its large values that the server has already."""
        # Its arguments are filed under the digests that they have here.
        call = copy.copy(call)
        call.arguments = dict(call.arguments)
        call.__dict__["_digests"] = record.arguments
        packed = _pack_call(method, call, call.__dict__.pop("_unsaved", None))
        if packed.nbytes() < LARGE:
            return packed
        keys = [str(key) for key in (*record.arguments.values(), record.result) if key is not None]
        missing = set(self._ask("missing", keys, plain=True))
        for name, key in record.arguments.items():
            if key not in missing:
                call.arguments[name] = key
        if record.result is not None and record.result not in missing:
            call.result = record.result
            call.__dict__.pop("_returned_digest", None)
        return pack((method, (call,), {}))

    def _commit(self, call: PreparedCall, server: Server) -> Digest:
        if not server.extended:
            record = call.resolve(_RemoteValues(self))  # type: ignore[arg-type]
            return Digest(self._ask("save", record))
        record = call.digested
        sealed = record.__dict__.pop(_SEALED, None)
        metadata = record.metadata if call._metadata is None else call._metadata
        packed_record = None if sealed is not None else records.to_tuple(record)
        return Digest(self._ask("commit", sealed, packed_record, call._result, metadata))

    def load(self, key: Digest | str) -> LazyCall:
        if self._conn.server().extended:
            return records.to_lazy(self._ask("load_record", str(key), plain=True), self)
        record: DigestedCall = self._ask("load", str(key), plain=True)
        return record.fetch(self)

    def load_value(self, key: Digest | str) -> Any:
        return self._ask("load_value", str(key), plain=True)

    def _load_result(self, key: Digest | str) -> Any:
        """The result of the call under `key`, in one exchange where the server can do that."""
        kind = type(self)
        overridden = kind.load is not SshCache.load or kind.load_value is not SshCache.load_value
        if self._conn.server().extended and not overridden:
            return self._ask("load_result", str(key), plain=True)
        call = self.load(key)
        return stored_result(call) if call.to_lookup_key() == key else None

    def _load_values(self, keys: Sequence[Digest]) -> dict[Digest, Any]:
        """Those of some values that are there, in one exchange where the server can do that."""
        if self._conn.server().extended:
            found = self._ask("load_values", [str(key) for key in keys], plain=True)
            return {keys[position]: value for position, value in found}
        values = {}
        for key in keys:
            with contextlib.suppress(KeyError):
                values[key] = self.load_value(key)
        return values

    def contains(self, key: Digest | str) -> bool:
        return bool(self._ask("contains", str(key), plain=True))

    def _contains_many(self, keys: Sequence[Digest]) -> list[bool]:
        if type(self).contains is not SshCache.contains or not self._conn.server().extended:
            return super()._contains_many(keys)
        # One exchange: what is not there has no shortest prefix.
        return [short is not None for short in self._shortest(keys)]

    def _may_hold(self, scheme: str) -> bool:
        # As it was when the connection was made: no exchange at every miss.
        return scheme in self._conn.server().info.get("schemes", _core.SCHEMES)

    def _claims(self) -> Claims | None:
        server = self._conn.server()
        if server.read_only:
            return None
        if not server.info.get("claims", False):
            # A server that knows of none: within this process at least.
            return super()._claims()
        from fleche.remote.claims import RemoteClaims

        return RemoteClaims((self.host, self.cache_name, self.workdir), self._ask)

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        if not self._conn.server().extended:
            return super()._shortest(keys)
        found = self._ask("shortest", [str(key) for key in keys], plain=True)
        return [None if short is None else Digest(short) for short in found]

    def evict(self, key: Digest | str) -> None:
        if self._conn.server().read_only:
            raise Rejected("Cannot evict from a read-only remote cache", self.host, key)
        self._ask("evict", str(key), plain=True)

    def expand(self, key: Digest | str) -> Digest:
        if len(key) >= DIGEST_LENGTH:
            return Digest(key)
        return Digest(self._ask("expand", str(key), plain=True))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        short = self._ask("shrink", *map(str, keys), plain=True)
        return tuple(map(Digest, (short,) if len(keys) == 1 else short))

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        call = _with_digests_for_values(call)
        if not self._conn.server().extended:
            for record in self._ask("query", call):
                yield record.fetch(self)
            return
        batch, cursor = self._ask("query_start", call, self._conn.take_given_up())
        try:
            while True:
                for packed in batch:
                    yield records.to_lazy(packed, self)
                if cursor is None:
                    return
                batch, cursor = self._ask("query_next", cursor, plain=True)
        finally:
            # A pass that was given up: the server learns of it with the next query.
            if cursor is not None:
                self._conn.given_up.append(cursor[0])

    def _operation_context(self, key: Digest | str, *, intent: Intent = Intent.WRITE) -> Any:
        return self._locks.of(key)

    def _save_value(self, value: Any) -> Digest:
        return Digest(self._ask("save_value", value))

    def _ask(self, method: str, *args: Any, plain: bool = False) -> Any:
        """What the server gives for a method.

        Raises:
            Exception: any that the method raises there.
        """
        server = self._conn.server()
        packed = pack((method, args, {}), plain=plain, apart=server.extended)
        return self._answer(method, packed)

    def _answer(self, method: str, packed: Packed) -> Any:
        frame = self._conn.exchange(method, packed)
        status, given = self._unpickled(method, frame)
        if status == "ok":
            return given
        if status == "raised":
            raise _exception_of(*given)
        if status == "err" and isinstance(given, BaseException):
            raise given
        raise self._conn.break_off(f"the reply to {method!r} is none of a cache server")

    def _unpickled(self, method: str, frame: Frame) -> tuple[Any, Any]:
        try:
            message = frame.message()
        except Exception as error:
            # No `KeyError`: that would be a miss.
            raise RuntimeError(
                f"what {self.host} sent for {method!r} cannot be unpickled here: "
                f"{type(error).__name__}: {error}"
            ) from error
        return message if isinstance(message, tuple) and len(message) == 2 else (None, None)


def _exception_of(raised: bytes, told: str) -> BaseException:
    """An exception of the server, or its text, if it cannot be unpickled here."""
    try:
        error = pickle.loads(raised)
    except Exception:
        error = None
    return error if isinstance(error, BaseException) else RuntimeError(told)


def _with_digests_for_values(template: QueryCall) -> QueryCall:
    """A pattern with digests in place of its values, as far as a value has but one.

    Raises:
        Indigestible: if one has none.
    """
    matcher = Matcher(template)
    arguments = {
        name: digests[0] if digests is not None and len(set(digests)) == 1 else value
        for (name, value), digests in zip(
            (template.arguments or {}).items(), matcher.arguments.values(), strict=True
        )
    }
    result = template.result
    if matcher.result is not None and len(set(matcher.result)) == 1:
        result = matcher.result[0]
    given = template.arguments is not None
    return replace(template, arguments=arguments if given else None, result=result)


def _pack_call(method: str, call: Call, unsaved: list[str] | None) -> Packed:
    """A request with a call; an argument that cannot be pickled is left to its digest.

    Args:
        method: what is asked for.
        call: the call.
        unsaved: where to note such arguments; warned of at once, if there is nowhere.
    """
    try:
        return pack((method, (call,), {}))
    except Exception:
        digests = call._digests or {}
        for name, value in call.arguments.items():
            try:
                pack(value)
            except Exception:
                call.arguments[name] = digests[name]
                if unsaved is None:
                    warn_of_unsaved_argument(name)
                else:
                    unsaved.append(name)
    return pack((method, (call,), {}))


@dataclass(frozen=True)
class _RemoteValues:
    """The values of a server, as far as a prepared call needs them."""

    cache: SshCache

    def save(self, value: Any, key: Digest | None = None) -> Digest:
        return self.cache._save_value(value)
