"""The decorator: functions whose calls are cached.

A hit is one walk through Rust (`_core.CachedFunction.run`). What is here is what a miss takes:
preparing the record, running the function, saving what it returned, and saying what went wrong.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from fleche import _core
from fleche.call import (
    Call,
    Ignored,
    PreparedCall,
    QueryCall,
    Required,
    Version,
    _annotations,
    _code_digest,
    _holds,
    compile_signature,
    module_of,
    qualname_of,
    signature_of,
    version_of,
)
from fleche.digest import Digest, Indigestible, digest
from fleche.state import BoundWrapper, get_cache, get_metadata
from fleche.state import cache as set_cache

if TYPE_CHECKING:
    import inspect
    import pathlib
    from concurrent.futures import Future

    from fleche.caches import BaseCache
    from fleche.metadata import MetaData

__all__ = ["Ignored", "Required", "fleche"]

logger = logging.getLogger("fleche")

_P = ParamSpec("_P")
_R = TypeVar("_R")
Arguments = dict[str, Any]


class _CachedCalls:
    """What a decorated function does besides running: the options it was decorated with."""

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        meta: tuple[MetaData, ...],
        hash_version: bool,
        hash_module: bool,
        hash_code: bool,
        require: frozenset[str],
        ignore: frozenset[str],
        isolate: bool,
        typed: bool,
    ) -> None:
        self.func = func
        self.meta = meta
        self.hash_version = hash_version
        self.hash_module = hash_module
        self.hash_code = hash_code
        self.isolate = isolate
        self.typed = typed
        self.require = require
        self.ignore = ignore
        self._set_up()

    def _set_up(self) -> None:
        self.signature = signature = signature_of(self.func)
        self._identity: tuple[str, str | None, Version, Digest | None] | None = None
        self.ignored = self.ignore | _parameters_marked(self.func, signature, Ignored)
        self.required = self.require | _parameters_marked(self.func, signature, Required)
        _check_names(self.func, signature, self.ignored, self.required)
        self.pending: dict[Digest, Future[Any]] = {}
        self.pending_lock = threading.Lock()
        self.core = _core.CachedFunction(
            function=self.func,
            signature=compile_signature(signature),
            ignored=sorted(self.ignored),
            required=sorted(self.required),
            typed=self.typed,
            identify=self._identify,
            on_miss=self._on_miss,
            on_uncached=self._on_uncached,
        )
        self.run = self.core.run

    # Locks and the compiled part are made again where a pickle is loaded.
    def __getstate__(self) -> dict[str, Any]:
        options = "func", "meta", "isolate", "typed", "require", "ignore"
        counts = "hash_version", "hash_module", "hash_code"
        return {name: self.__dict__[name] for name in (*options, *counts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()

    def _identify(self) -> tuple[str, str | None, Version, Digest | None]:
        """Name, module, version and code digest, as far as they count."""
        # Not before the first call: what the function captured may be bound after its decoration.
        if self._identity is None:
            self._identity = (
                qualname_of(self.func),
                module_of(self.func) if self.hash_module else None,
                version_of(self.func) if self.hash_version else None,
                _code_digest(self.func) if self.hash_code else None,
            )
        return self._identity

    def call(self, args: tuple[Any, ...], kwargs: Arguments) -> Call:
        """The call with its live arguments.

        Raises:
            TypeError: if the arguments do not fit.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {n: v for n, v in bound.arguments.items() if n not in self.ignored}
        return self._call_of(arguments)

    def _call_of(self, arguments: Arguments) -> Call:
        name, module, version, code_digest = self._identify()
        call = Call(name, arguments, {}, module, version, code_digest)
        if self.typed:
            call.__dict__["_typed"] = True
        return call

    def key(self, args: tuple[Any, ...], kwargs: Arguments) -> Digest:
        """The key of a call.

        Raises:
            TypeError: if the arguments do not fit.
            Indigestible: if one of them has no digest.
        """
        try:
            return self.core.key(args, kwargs)
        except TypeError:
            self.call(args, kwargs)
            raise

    def query_call(self, args: tuple[Any, ...], kwargs: Arguments) -> QueryCall:
        """The pattern of the calls with these arguments; those left out match everything."""
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        arguments = {n: bound.get(n) for n in self.signature.parameters if n not in self.ignored}
        module = module_of(self.func) if self.hash_module else None
        return QueryCall(qualname_of(self.func), arguments, module=module)

    def _on_uncached(
        self, args: tuple[Any, ...], kwargs: Arguments, reason: tuple[str, Any, Any]
    ) -> Any:
        """Say why a call is not cached, and run it."""
        kind, subject, detail = reason
        if kind == "indigestible":
            culprit = detail.args[0] if detail.args else detail
            what = culprit if isinstance(culprit, str) else f"a {_type_name(culprit)}"
            logger.warning(
                "No hash for argument: %r of %s (%s); the call runs without a cache",
                subject,
                qualname_of(self.func),
                what,
            )
        elif kind == "required":
            logger.warning(
                "Missing required keyword arguments for caching: %s (calling %s)",
                subject,
                qualname_of(self.func),
            )
        else:
            logger.warning(
                "Cache failed to load %s for %s; the call runs without it",
                subject,
                qualname_of(self.func),
                exc_info=detail,
            )
        return self._run(None, args, kwargs)

    def _run(self, key: Digest | None, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        if not self.isolate:
            return self.func(*args, **kwargs)
        with _fresh_directory(key or "uncached"):
            return self.func(*args, **kwargs)

    def _on_miss(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        args: tuple[Any, ...],
        kwargs: Arguments,
    ) -> Any:
        """Run a call that is not in the cache, and save what it returns."""
        name = qualname_of(self.func)
        logger.debug("Cache miss for %s with key %s", name, key)
        if self.pending and (running := self._running(key)) is not None:
            return running
        call = self._call_of(arguments)
        call.__dict__["_digests"] = digests
        try:
            prepared = cache.prepare(call)
        except Exception:
            logger.warning("Cache failed to prepare call of %s (%s)", name, key, exc_info=True)
            return self._run(key, args, kwargs)
        del call.__dict__["_digests"]
        metadata = (*get_metadata(), *self.meta)
        recorded: dict[str, dict[str, Any]] = defaultdict(dict)
        self._before(metadata, call, recorded)
        try:
            result = self._run(key, args, kwargs)
        except BaseException:
            prepared.abandon()
            raise
        save = functools.partial(self._save, cache, key, prepared, call, metadata, recorded)
        if _is_future(result):
            self._save_when_done(key, prepared, result, save)
        else:
            save(result)
        return result

    def _before(
        self,
        metadata: tuple[MetaData, ...],
        call: Call,
        recorded: dict[str, dict[str, Any]],
    ) -> None:
        for item in metadata:
            try:
                recorded[item.name].update(item.pre(call))
            except Exception:
                _warn_of_metadata(item, call)

    def _after(
        self,
        metadata: tuple[MetaData, ...],
        call: Call,
        recorded: dict[str, dict[str, Any]],
    ) -> None:
        for item in metadata:
            try:
                held = recorded[item.name]
                held.update(item.post(dict(held), call))
            except Exception:
                _warn_of_metadata(item, call)

    def _save(
        self,
        cache: BaseCache,
        key: Digest,
        prepared: PreparedCall,
        call: Call,
        metadata: tuple[MetaData, ...],
        recorded: dict[str, dict[str, Any]],
        result: Any,
    ) -> None:
        """Save what a call returned; whatever fails, the caller has the result already."""
        name = qualname_of(self.func)
        call.result = result
        self._after(metadata, call, recorded)
        try:
            if result is None:
                prepared.abandon()
                self._warn_of_none(cache, key)
                return
            logger.debug("Saving result for %s with key %s", name, key)
            prepared.commit(result, recorded)
        except Exception as error:
            from fleche.caches import Rejected

            prepared.abandon()
            if isinstance(error, Rejected):
                logger.warning("Cache rejected save: %s (%s, %s)", error.args, name, key)
            else:
                logger.warning("Cache failed to save %s (%s)", name, key, exc_info=True)

    def _warn_of_none(self, cache: BaseCache, key: Digest) -> None:
        from fleche.caches import RefreshingCache

        if isinstance(cache, RefreshingCache) and cache.cache.contains(key):
            cache.evict(key)
            logger.warning("Function returned None during rerun, evicted stale cache entry")
        else:
            logger.warning("Function returned None, not caching")

    def _running(self, key: Digest) -> Any:
        """The future that computes a call at this moment, or its result; `None` if none does."""
        with self.pending_lock:
            future = self.pending.get(key)
        if future is None or future.cancelled():
            return None
        if not future.done():
            return future
        return None if future.exception() is not None else future.result()

    def _save_when_done(
        self,
        key: Digest,
        prepared: PreparedCall,
        future: Future[Any],
        save: Callable[[Any], None],
    ) -> None:
        def done(finished: Future[Any]) -> None:
            try:
                if finished.cancelled() or finished.exception() is not None:
                    prepared.abandon()
                else:
                    save(finished.result())
            finally:
                with self.pending_lock:
                    self.pending.pop(key, None)

        with self.pending_lock:
            self.pending[key] = future
        future.add_done_callback(done)


@overload
def fleche(_func: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def fleche(
    _func: None = None,
    *,
    version: str | int | None = None,
    meta: tuple[MetaData, ...] = (),
    hash_version: bool = True,
    hash_module: bool = True,
    hash_code: bool = False,
    require: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    isolate: bool = False,
    typed: bool = False,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def fleche(
    _func: Any = None,
    *,
    version: str | int | None = None,
    meta: tuple[MetaData, ...] = (),
    hash_version: bool = True,
    hash_module: bool = True,
    hash_code: bool = False,
    require: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    isolate: bool = False,
    typed: bool = False,
) -> Any:
    """Cache the calls of a function in the active cache, keyed by the content of the arguments.

    The decorated function has helpers, each also in its namespace `.fleche`: `call`, `digest`,
    `query`, `load`, `contains`, `rerun` and `bind`, which take the function's arguments.

    Args:
        version: counts in the keys; change it when the function changes what it computes.
        meta: metadata to record besides the active ones.
        hash_version: whether the version counts.
        hash_module: whether the function's module counts.
        hash_code: whether the function's code, with what it captured, counts.
        require: parameters without whose explicit value a call is not cached.
        ignore: parameters that take no part in keys and records.
        isolate: run each call in a fresh directory, removed afterwards.
        typed: whether arguments count by type and value, as in `functools.lru_cache`, but deep.

    Raises:
        ValueError: if `require` or `ignore` names no parameter.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def square(x):
    ...     print("computing")
    ...     return x * x
    >>> with cache("memory"):
    ...     square(12), square(12.0)
    computing
    (144, 144)
    """

    def decorate(func: Any) -> Any:
        if isinstance(func, staticmethod | classmethod):
            # Decorated below, so that the descriptor still binds as it should.
            return type(func)(decorate(func.__func__))
        if not callable(func):
            what = type(func).__name__
            raise TypeError(
                f"fleche decorates a callable, not a {what}; its options are keyword arguments"
            )
        func, args, kwargs = _unbound(func)
        if version is not None:
            func.__version__ = version
        calls = _CachedCalls(
            func,
            meta=tuple(meta),
            hash_version=hash_version,
            hash_module=hash_module,
            hash_code=hash_code,
            require=_names(require),
            ignore=_names(ignore),
            isolate=isolate,
            typed=typed,
        )
        return _make_wrapper(calls, args, kwargs)

    return decorate if _func is None else decorate(_func)


def _unbound(func: Any) -> tuple[Any, tuple[Any, ...], Arguments]:
    """The function below a callable, and the arguments that the callable adds to each call.

    A bound method, a `functools.partial` and an instance that is called compute with more than
    what they are called with: with it as arguments, two of them never share a call by mistake.
    """
    if isinstance(func, functools.partial):
        inner, args, kwargs = _unbound(func.func)
        return inner, args + func.args, {**kwargs, **func.keywords}
    if isinstance(func, types.MethodType):
        return func.__func__, (func.__self__,), {}
    if isinstance(func, types.BuiltinMethodType):
        receiver = func.__self__
        if receiver is not None and not isinstance(receiver, types.ModuleType | type):
            return getattr(type(receiver), func.__name__), (receiver,), {}
        return func, (), {}
    if not hasattr(func, "__qualname__"):
        try:
            digest(func)
        except Indigestible:
            logger.warning(
                "Instances of %s have no digest: calls of this one are keyed by its class alone, "
                "whatever state it holds. Give the class a __digest__, or make it a dataclass.",
                _type_name(func),
            )
            return func, (), {}
        return type(func).__call__, (func,), {}
    return func, (), {}


def _make_wrapper(
    calls: _CachedCalls, given_args: tuple[Any, ...], given_kwargs: Arguments
) -> Callable[..., Any]:
    func = calls.func
    if given_args or given_kwargs:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return calls.run(given_args + args, {**given_kwargs, **kwargs})

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return calls.run(args, kwargs)

    functools.update_wrapper(wrapper, func)
    wrapper.__digest__ = functools.partial(digest, func)  # type: ignore[attr-defined]
    namespace = types.SimpleNamespace()
    wrapper.fleche = namespace  # type: ignore[attr-defined]
    for helper in _helpers(calls, wrapper, given_args, given_kwargs):
        setattr(namespace, helper.__name__, helper)
        setattr(wrapper, helper.__name__, helper)
    return wrapper


def _helpers(
    calls: _CachedCalls,
    wrapper: Callable[..., Any],
    given_args: tuple[Any, ...],
    given_kwargs: Arguments,
) -> Iterator[Callable[..., Any]]:
    from fleche.caches import RefreshingCache
    from fleche.query import QueryIterator

    func = calls.func
    name = qualname_of(func)
    returns = getattr(func, "__annotations__", {}).get("return", Any)

    def helper(doc: str, result: Any, body: Callable[..., Any]) -> Callable[..., Any]:
        functools.update_wrapper(body, func, ("__module__", "__annotations__"), ())
        body.__qualname__ = f"{name}.{body.__name__}"
        body.__doc__ = doc
        body.__annotations__ = {**body.__annotations__, "return": result}
        return body

    def call(*args: Any, **kwargs: Any) -> Call:
        return calls.call(given_args + args, {**given_kwargs, **kwargs})

    yield helper(f"The call of `{name}` with these arguments; nothing runs.", Call, call)

    def digest(*args: Any, **kwargs: Any) -> Digest:
        return calls.key(given_args + args, {**given_kwargs, **kwargs})

    yield helper(f"The key of the call of `{name}` with these arguments.", Digest, digest)

    def query(*args: Any, metadata: Any = None, **kwargs: Any) -> QueryIterator:
        template = calls.query_call(given_args + args, {**given_kwargs, **kwargs})
        template.metadata = metadata
        return get_cache().query(template)

    yield helper(
        f"The cached calls of `{name}` with these arguments; those left out match everything.",
        Iterable[Call],
        query,
    )

    def load(*args: Any, **kwargs: Any) -> Any:
        return get_cache().load(calls.key(given_args + args, {**given_kwargs, **kwargs})).result

    def load_explicit(*args: Any, **kwargs: Any) -> Any:
        # For executors: a call that would run without a cache is no hit before it is sent, too.
        given = calls.signature.bind(*given_args, *args, **{**given_kwargs, **kwargs}).arguments
        if calls.required - given.keys():
            raise KeyError(*(calls.required - given.keys()))
        return load(*args, **kwargs)

    load._explicit = load_explicit  # type: ignore[attr-defined]
    yield helper(f"The cached result of `{name}`; `KeyError` if there is none.", returns, load)

    def contains(*args: Any, **kwargs: Any) -> bool:
        return get_cache().contains(calls.key(given_args + args, {**given_kwargs, **kwargs}))

    yield helper(f"Whether the call of `{name}` with these arguments is cached.", bool, contains)

    def rerun(*args: Any, **kwargs: Any) -> Any:
        with set_cache(RefreshingCache(get_cache())):
            return wrapper(*args, **kwargs)

    yield helper(
        f"Compute `{name}` and every cached call below it again, and replace the results.",
        returns,
        rerun,
    )

    def bind(*args: Any, **kwargs: Any) -> BoundWrapper:
        bound = functools.partial(wrapper, *args, **kwargs) if args or kwargs else wrapper
        return BoundWrapper.bind(bound)

    yield helper(
        f"`{name}` with these arguments and the active cache and metadata, for other threads and "
        f"processes.",
        BoundWrapper,
        bind,
    )


def _names(names: str | Iterable[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset()
    return frozenset((names,) if isinstance(names, str) else names)


def _parameters_marked(
    func: Callable[..., Any], signature: inspect.Signature, marker: type
) -> frozenset[str]:
    annotations = _annotations(func, signature)
    return frozenset(name for name, annotation in annotations.items() if _holds(annotation, marker))


def _check_names(
    func: Callable[..., Any],
    signature: inspect.Signature,
    ignored: frozenset[str],
    required: frozenset[str],
) -> None:
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option, names in (("ignore", ignored), ("require", required)):
        unknown = sorted(names - set(parameters))
        if unknown and not (option == "require" and takes_any):
            raise ValueError(
                f"{option}={unknown[0]!r}: {qualname_of(func)} has no such parameter; it has "
                f"{', '.join(parameters) or 'none'}"
            )


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _warn_of_metadata(item: Any, call: Call) -> None:
    logger.warning(
        "Metadata %s of %s failed; the call is recorded without it",
        type(item).__name__,
        call.name,
        exc_info=True,
    )


def _is_future(value: Any) -> bool:
    # A future exists only where its module was imported.
    futures = sys.modules.get("concurrent.futures._base")
    return futures is not None and isinstance(value, futures.Future)


def _get_working_directory_root() -> pathlib.Path:
    import os
    import pathlib

    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "fleche" / "cwd"


@contextmanager
def _fresh_directory(name: str) -> Iterator[None]:
    """Run in a new directory, which is removed afterwards."""
    import contextlib
    import tempfile

    root = _get_working_directory_root()
    root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f"{name}_", dir=root, ignore_cleanup_errors=True) as new,
        contextlib.chdir(new),
    ):
        yield
