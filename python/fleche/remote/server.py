"""The server: answers requests for one cache until its input ends."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fleche import _core
from fleche.caches import BaseCache, CacheStack, CacheWrapper, ReadOnlyMixin, Rejected
from fleche.call import DigestedCall, PreparedCall, QueryCall
from fleche.call.outcomes import stored_result
from fleche.digest import Digest, Indigestible
from fleche.remote import records
from fleche.remote.claims import ServedClaims
from fleche.remote.client import SshCache
from fleche.remote.connection import cloudpickle_version, python_version, require_cloudpickle
from fleche.remote.frames import (
    PROTOCOL,
    Frame,
    FrameError,
    FrameTooLarge,
    Packed,
    Reader,
    Writer,
    pack,
)
from fleche.storage.urls import without_password

logger = logging.getLogger("fleche.remote")

# How many records a reply to a query holds: few at first, as many callers want the first one only.
_FIRST_BATCH, _LARGEST_BATCH = 64, 4096

# How long what a client asked for last may take after its end, in seconds.
_GRACE = 5.0

# How many calls may be on their way at once, of the threads of a client.
_MOST_PREPARED = 64

# Exceptions that say everything themselves.
_EXPECTED = (KeyError, Indigestible, Rejected)


def serve(
    input_stream: Any, output_stream: Any, cache: BaseCache, *, cache_name: str | None = None
) -> None:
    """Answer the requests on a stream, until it ends.

    Args:
        input_stream: a binary file to read requests from.
        output_stream: a binary file to write replies to.
        cache: the cache that is served.
        cache_name: its name, to be told.

    Raises:
        ImportError: if the package `cloudpickle` is not installed.

    >>> import io
    >>> from fleche.config import cache_from_config
    >>> serve(io.BytesIO(), io.BytesIO(), cache_from_config({"template": "memory"}))
    """
    require_cloudpickle()
    reader, writer = Reader(input_stream), Writer(output_stream)
    session = Session(cache, cache_name)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        while True:
            try:
                frame = reader.frame(long_frames=session.extended)
            except FrameError as error:
                logger.error("Malformed request frame: %s", error)
                reply = session.pack_error(ValueError(f"malformed request: {error}"))
            else:
                reply = session.answer(frame)
                del frame
            try:
                writer.write(reply, long_frames=session.extended)
            except FrameTooLarge as error:
                writer.write(session.pack_error(error), long_frames=False)
            # Not kept until the next request has come.
            del reply


serve.__module__ = "fleche.remote"


class Session:
    """What one client asks for, and what it was found to know."""

    def __init__(self, cache: BaseCache, cache_name: str | None) -> None:
        self.cache = cache
        self.cache_name = cache_name
        #: Whether the client knows more than the reference's does.
        self.extended = False
        self._refusal: str | None = None
        self._told: dict[str, Any] | None = None
        self._claims = ServedClaims(cache)
        self._queries: dict[int, Iterator[Any]] = {}
        self._prepared: dict[Digest, PreparedCall] = {}
        self._flights: deque[Any] = deque(maxlen=_MOST_PREPARED)
        # None that a query of another connection had.
        self._numbers = itertools.count(int.from_bytes(os.urandom(6)))

    def answer(self, frame: Frame) -> Packed:
        """The reply to a request."""
        try:
            message = frame.message()
        except BaseException as error:
            logger.error("Malformed request frame: %s: %s", type(error).__name__, error)
            text = f"the request cannot be unpickled here: {type(error).__name__}: {error}"
            return self.pack_error(ValueError(text))
        if not _is_request(message):
            logger.error("Malformed request frame: %.200r", message)
            return self.pack_error(ValueError("malformed request: not (method, args, kwargs)"))
        method, args, kwargs = message
        try:
            return self._packed(method, self._dispatch(method, args, kwargs))
        except BaseException as error:
            return self.pack_error(error)

    def _packed(self, method: str, result: Any) -> Packed:
        message = ("ok", result)
        if method in _RECORDS:
            with contextlib.suppress(Exception):
                return pack(message, plain=True)
        return pack(message, apart=self.extended)

    def pack_error(self, error: BaseException) -> Packed:
        """An exception as a reply; one that cannot travel as a `RuntimeError` with its text."""
        kind = type(error).__name__
        told = f"{kind}: {error}\n" + "".join(traceback.format_exception(error)).rstrip()
        if isinstance(error, Exception):
            if not isinstance(error, _EXPECTED):
                error.add_note(f"raised on {socket.gethostname()}:\n{told}")
            with contextlib.suppress(Exception):
                if self.extended:
                    # The client may know the exception's class, or has at least its text.
                    raised = b"".join(pack(error, apart=False).pieces)
                    return pack(("raised", (raised, told)), plain=True)
                packed = pack(("err", error), apart=False)
                # Some exceptions are pickled and then cannot be unpickled.
                pickle.loads(b"".join(packed.pieces))
                return packed
        return pack(("err", RuntimeError(told)), plain=True)

    def _dispatch(self, method: str, args: Any, kwargs: Any) -> Any:
        if method == "info":
            return self._info(**kwargs)
        if self._refusal is not None:
            raise RuntimeError(self._refusal)
        known = _METHODS.get(method)
        if known is None:
            raise ValueError(f"Unknown remote cache method: {method!r}")
        return known(self, *args)

    def _info(self, protocol: int | None = None, digest: str | None = None, **_: Any) -> Any:
        if protocol is not None:
            self.extended = protocol >= 1
        elif not self.extended and _core.scheme() != "sha256":
            # Its keys have the reference's only scheme, and would be mixed with ours.
            self._refusal = (
                f"the keys of the cache on {socket.gethostname()} have the digest scheme "
                f"{_core.scheme()!r}, those of this client 'sha256': set FLECHE_DIGEST=sha256 for "
                f"the server, or digest = 'sha256' in the section [default] of its fleche.toml"
            )
        if self._told is None:
            self._told = server_info(self.cache, self.cache_name)
        return self._told | {"cwd": os.getcwd()}

    def _refuse_read_only(self) -> None:
        if is_read_only(self.cache):
            raise Rejected("Cannot save to a read-only cache", type(self.cache).__name__)

    def save(self, call: Any) -> Digest:
        return Digest(self.cache.save(call))

    def load(self, key: str) -> DigestedCall:
        return self.cache.load(key).detach()

    def load_record(self, key: str) -> tuple[Any, ...]:
        return records.to_tuple(self.load(key))

    def load_value(self, key: str) -> Any:
        return self.cache.load_value(key)

    def load_result(self, key: str) -> Any:
        call = self.cache.load(key)
        # A record whose file was renamed is not that of the call.
        result = stored_result(call) if call.to_lookup_key() == key else None
        if result is None:
            raise KeyError(key)
        return result

    def load_values(self, keys: list[str]) -> list[tuple[int, Any]]:
        found = []
        for position, key in enumerate(keys):
            with contextlib.suppress(KeyError):
                found.append((position, self.cache.load_value(key)))
        return found

    def save_value(self, value: Any) -> Digest:
        self._refuse_read_only()
        if isinstance(inner := _inner(self.cache), SshCache):
            return inner._save_value(value)
        values, key = _values_of(self.cache), _core.result_digest(value)
        collection = getattr(values, "_collection", None)
        if collection is None:
            return Digest(values.save(value, key))
        with collection.saving():
            # Its record comes next, in another request: no garbage until then.
            self._flights.append(collection.begin([key]))
            return Digest(values.save(value, key))

    def prepare(self, call: Any) -> DigestedCall:
        prepared = self.cache.prepare(call)
        # It keeps the arguments from being collected as garbage until the result comes, but not in
        # memory. Those whose calls were given up make room for later ones.
        prepared._live = None
        self._prepared[prepared.to_lookup_key()] = prepared
        if len(self._prepared) > _MOST_PREPARED:
            del self._prepared[next(iter(self._prepared))]
        return prepared.digested

    def missing(self, keys: list[str]) -> list[str]:
        values = getattr(_inner(self.cache), "values", None)
        return keys if values is None else [key for key in keys if not values.contains(key)]

    def commit(self, sealed: bytes | None, record: Any, result: Any, metadata: Any) -> str:
        self._refuse_read_only()
        if sealed is None:
            digested = records.from_tuple(record)
            known = self._prepared.pop(digested.to_lookup_key(), None)
            prepared = PreparedCall(digested, self.cache) if known is None else known
        else:
            _, (call,), _ = pickle.loads(sealed)
            prepared = self.cache.prepare(call)
        return str(prepared.commit(result, metadata))

    def claim(self, key: str, seconds: float, holder: Any) -> tuple[bool, Any]:
        self._refuse_read_only()
        return self._claims.take(key, seconds, holder)

    def claim_holder(self, key: str) -> Any:
        return self._claims.holder(key)

    def claim_waits_for(self, key: str, other: str | None) -> None:
        self._claims.wait_for(key, other)

    def claim_release(self, key: str) -> None:
        self._claims.release(key)

    def evict(self, key: str) -> None:
        self.cache.evict(key)

    def contains(self, key: str) -> bool:
        return self.cache.contains(key)

    def shortest(self, keys: list[str]) -> list[Digest | None]:
        return self.cache._shortest(keys)

    def expand(self, key: str) -> Digest:
        return self.cache.expand(key)

    def shrink(self, *keys: str) -> Digest | tuple[Digest, ...]:
        return self.cache.shrink(*keys)

    def query(self, template: QueryCall) -> tuple[DigestedCall, ...]:
        return tuple(call.detach() for call in self.cache.query(template))

    def query_start(self, template: QueryCall, given_up: list[int]) -> tuple[list[Any], Any]:
        for number in given_up:
            self._queries.pop(number, None)
        calls = iter(self.cache._query(template))
        return self._batch(next(self._numbers), calls, _FIRST_BATCH)

    def query_next(self, cursor: tuple[int, int]) -> tuple[list[Any], Any]:
        number, size = cursor
        calls = self._queries.pop(number, None)
        if calls is None:
            raise ValueError("the query is not running any more")
        return self._batch(number, calls, size)

    def _batch(self, number: int, calls: Iterator[Any], size: int) -> tuple[list[Any], Any]:
        batch = [records.to_tuple(call.detach()) for call in itertools.islice(calls, size)]
        if len(batch) < size:
            return batch, None
        self._queries[number] = calls
        return batch, (number, min(4 * size, _LARGEST_BATCH))


_METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(Session, name)
    for name in (
        *("save", "load", "load_value", "save_value", "prepare", "evict", "contains", "expand"),
        *("shrink", "query"),
        # Between two of ours.
        *("commit", "load_record", "load_result", "load_values", "missing", "shortest"),
        *("query_start", "query_next"),
        *("claim", "claim_holder", "claim_waits_for", "claim_release"),
    )
}

# What these give is pickled by name, unless somebody's metadata is in it.
_RECORDS = frozenset(
    (
        *(
            "info",
            "load",
            "load_record",
            "query",
            "query_start",
            "query_next",
            "prepare",
            "commit",
            "save",
        ),
        *("evict", "contains", "expand", "shrink", "missing", "shortest", "save_value"),
        *("claim", "claim_holder", "claim_waits_for", "claim_release"),
    )
)


def _is_request(message: Any) -> bool:
    return (
        isinstance(message, (tuple, list))
        and len(message) == 3
        and isinstance(message[0], str)
        and isinstance(message[1], (tuple, list))
        and isinstance(message[2], dict)
    )


def _inner(cache: BaseCache) -> BaseCache:
    """The cache that another one saves to."""
    while True:
        if isinstance(cache, CacheStack):
            cache = cache.stack[0]
        elif isinstance(cache, CacheWrapper):
            cache = cache.cache
        else:
            return cache


def _values_of(cache: BaseCache) -> Any:
    inner = _inner(cache)
    values = getattr(inner, "values", None)
    if values is None:
        raise TypeError(f"a {type(inner).__name__} has no storage of values to save to")
    return values


def is_read_only(cache: BaseCache) -> bool:
    """Whether a cache refuses to save and to evict."""
    while True:
        if isinstance(cache, ReadOnlyMixin):
            return True
        if isinstance(cache, CacheStack):
            cache = cache.stack[0]
        elif isinstance(cache, CacheWrapper):
            cache = cache.cache
        else:
            return isinstance(cache, SshCache) and cache.read_only


def server_info(cache: BaseCache, cache_name: str | None) -> dict[str, Any]:
    """What a server says of itself."""
    from fleche.config import cache_to_config

    try:
        config: Any = _redacted(cache_to_config(cache))
    except ValueError as error:
        config = f"<cache_to_config failed: {error}>"
    return {
        "cache": config,
        "cache_name": cache_name,
        "read_only": is_read_only(cache),
        "fleche_version": _core.VERSION,
        "cloudpickle_version": cloudpickle_version(),
        "cwd": os.getcwd(),
        "hostname": socket.gethostname(),
        "python": sys.executable,
        "pid": os.getpid(),
        "protocol": PROTOCOL,
        "digest": _core.scheme(),
        "schemes": [scheme for scheme in _core.SCHEMES if cache._may_hold(scheme)],
        "python_version": python_version(),
        "claims": True,
    }


def _redacted(config: Any) -> Any:
    """A configuration without what must stay on this machine."""
    if isinstance(config, list):
        return [_redacted(item) for item in config]
    if not isinstance(config, dict):
        return config
    shown = {}
    for name, value in config.items():
        if name == "secret_key":
            shown[name] = "<redacted>"
        elif name == "url" and isinstance(value, str):
            shown[name] = without_password(value)
        else:
            shown[name] = _redacted(value)
    return shown


def run(cache_name: str | None) -> int:
    """Serve the cache of this name on the standard streams; gives the exit status.

    Args:
        cache_name: a section of the `fleche.toml` here; the default one if not given.
    """
    requests, replies = _claim_standard_streams()
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # A cache that is not found is a memory cache: who shares it must learn of that.
    logging.getLogger("fleche.config").setLevel(logging.INFO)
    try:
        require_cloudpickle()
    except ImportError as error:
        print(f"fleche remote: {error}", file=sys.stderr)
        return 1
    from fleche.config import load_cache_config
    from fleche.state import cache as activate

    try:
        cache = load_cache_config(cache_name)
    except (ValueError, ImportError, OSError) as error:
        print(f"fleche remote: {error}", file=sys.stderr)
        return 1
    _end_with_the_client(requests.fileno())
    quiet = contextlib.suppress(BrokenPipeError, KeyboardInterrupt)
    with requests, replies, quiet, activate(cache):
        serve(requests, replies, cache, cache_name=cache_name)
    return 0


def _end_with_the_client(requests: int) -> None:
    """End this process when the client is gone, even in the middle of something that takes long."""
    if sys.platform == "win32":  # A pipe cannot be waited for by itself.
        return

    def watch() -> None:
        poll = select.poll()
        # No event but the end of the pipe.
        poll.register(requests, 0)
        poll.poll()
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=watch, name="fleche: end of the client", daemon=True).start()


def _claim_standard_streams() -> tuple[Any, Any]:
    """The standard streams for frames alone; what anything else prints goes to standard error."""
    requests, replies = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return open(requests, "rb", buffering=0), open(replies, "wb", buffering=0)
