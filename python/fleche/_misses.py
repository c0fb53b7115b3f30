"""Calls of decorated functions.

A hit is one walk through Rust (`_core.CachedFunction.run`). What is here is what a miss takes:
preparing the record, running the function, saving what it returned, and saying what went wrong.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from fleche import _core
from fleche._profile import (
    Version,
    code_digest_of,
    compile_signature,
    marked_of,
    module_of,
    qualname_of,
    signature_of,
    version_of,
)
from fleche._targets import Target
from fleche.call import (
    Call,
    DigestedCall,
    PreparedCall,
    QueryCall,
    warn_of_unsaved_argument,
)
from fleche.digest import Digest, Indigestible, digest
from fleche.state import get_cache, get_metadata
from fleche.storage.base import SaveError
from fleche.storage.base import logger as storage_logger

if TYPE_CHECKING:
    import inspect
    from concurrent.futures import Future

    from fleche.caches import BaseCache
    from fleche.metadata import MetaData

logger = logging.getLogger("fleche")

#: When the code of a function counts.
HashCode: TypeAlias = bool | Literal["deep"] | None
_HASH_CODE: dict[HashCode, str] = {
    None: "unnamed",
    True: "always",
    "deep": "deep",
    False: "never",
}

Arguments = dict[str, Any]
Recorded = dict[str, dict[str, Any]]
# Metadata, its name, and what it knew before the body ran.
Begun = tuple["MetaData", str, dict[str, Any]]


class CachedCalls:
    """What a decorated function does besides running: the options it was decorated with."""

    def __init__(
        self,
        target: Target,
        *,
        version: Version,
        meta: tuple[MetaData, ...],
        hash_version: bool,
        hash_module: bool,
        hash_code: HashCode,
        require: frozenset[str],
        ignore: frozenset[str],
        isolate: bool,
        typed: bool,
        strict: bool | None,
    ) -> None:
        self.target = target
        self.version = version
        self.meta = meta
        self.hash_version = hash_version
        self.hash_module = hash_module
        self.hash_code = hash_code
        self.isolate = isolate
        self.typed = typed
        self.strict = strict
        self.require = require
        self.ignore = ignore
        self._set_up()

    def _set_up(self) -> None:
        self.func = func = self.target.function
        self.name = qualname_of(self.target.identity)
        self.signature = signature = signature_of(func)
        ignored, required = marked_of(func, signature)
        self.ignored = self.ignore | ignored
        self.required = self.require | required
        _check_names(self.name, signature, self.ignored, self.required)
        # Futures whose results are to be saved, with the cache they go to.
        self.pending: dict[Digest, tuple[BaseCache, Future[Any]]] = {}
        # In a forked child it is held by nobody that is not there.
        self.pending_lock = _core.KeyLocks().of("")
        self.core = _core.CachedFunction(
            function=func,
            signature=compile_signature(signature),
            ignored=sorted(self.ignored),
            required=sorted(self.required),
            typed=self.typed,
            identify=self._identify,
            hash_code=_HASH_CODE[self.hash_code],
            on_miss=self._on_miss,
            on_uncached=self._on_uncached,
            isolate=self.isolate,
            metadata=self.meta,
            pending=self.pending,
            on_unusual=self._on_unusual,
            on_unsaved=self._say_unsaved,
            is_strict=self.is_strict,
        )
        self.run = self.core.run

    # Locks and the compiled part are made again where a pickle is loaded: when they are first
    # used, as a function that refers to itself is still without its defaults while it is loaded.
    def __getstate__(self) -> dict[str, Any]:
        options = "target", "version", "meta", "isolate", "typed", "strict", "require", "ignore"
        counts = "hash_version", "hash_module", "hash_code"
        return {name: self.__dict__[name] for name in (*options, *counts)}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "target" not in self.__dict__ or "run" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._set_up()
        return getattr(self, name)

    def _identify(self) -> tuple[str, str | None, Version, Digest | None]:
        """Name, module, version and, in scheme `sha256`, code digest, as far as they count.

        In scheme `exact` the core finds out by itself whether and how the code counts.
        """
        counts = self.hash_code and _core.scheme() == "sha256"
        return (
            self.name,
            module_of(self.target.identity) if self.hash_module else None,
            self._version() if self.hash_version else None,
            code_digest_of(self.func) if counts else None,
        )

    def _version(self) -> Version:
        return version_of(self.target.identity) if self.version is None else self.version

    def call(self, args: tuple[Any, ...], kwargs: Arguments) -> Call:
        """The call with its live arguments.

        Raises:
            TypeError: if the arguments do not fit.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {n: v for n, v in bound.arguments.items() if n not in self.ignored}
        return self._call_of(arguments)

    def _call_of(self, arguments: Arguments, *code: Digest | None) -> Call:
        """The call with these arguments; `code`: its code digest, if that is known."""
        name, module, version, now = self.core.identity()
        code_digest = code[0] if code else now
        call = Call(name, arguments, {}, module, version, code_digest)
        if self.typed:
            call.__dict__["_typed"] = True
        return call

    def key(self, args: tuple[Any, ...], kwargs: Arguments) -> Digest:
        """The key of a call, the one that it would be found under.

        Raises:
            TypeError: if the arguments do not fit.
            Indigestible: if one of them has no digest.
        """
        try:
            key = self.core.key(args, kwargs)
            if key is None:
                key = self.core.key(*_with_values(args, kwargs), True)
            return cast("Digest", key)
        except TypeError:
            self.call(args, kwargs)
            raise

    def load(self, cache: BaseCache, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        """The result of a call that a cache holds, under today's key or an older one.

        Raises:
            KeyError: if it does not hold it.
        """
        key = self.key(args, kwargs)
        try:
            return cache.load(key).result
        except KeyError:
            older = self.core.older(cache, *_with_values(args, kwargs))
            if older is None:
                raise
        found = cache._take_older(older)
        # If it is not there either: somebody may have filed it anew between the two looks.
        return cache.load(key).result if found is None else found[0]

    def contained(self, cache: BaseCache, args: tuple[Any, ...], kwargs: Arguments) -> bool:
        """Whether a cache holds a call, under today's key or an older one."""
        key = self.key(args, kwargs)
        if cache.contains(key):
            return True
        older = self.core.older(cache, *_with_values(args, kwargs))
        if older is None:
            return False
        # At last as in `load`.
        return cache._find_older(older) is not None or cache.contains(key)

    def query_call(self, args: tuple[Any, ...], kwargs: Arguments) -> QueryCall:
        """The pattern of the calls with these arguments; those left out match everything."""
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        arguments = {n: bound.get(n) for n in self.signature.parameters if n not in self.ignored}
        name, module, version, code = self.core.identity()
        # A name that others share does not say whose calls these are.
        own = code if self.hash_code is None else None
        return QueryCall(name, arguments, module=module, version=version, code_digest=own)

    def _on_uncached(
        self, args: tuple[Any, ...], kwargs: Arguments, reason: tuple[str, Any, Any]
    ) -> Any:
        """Say why a call is not cached, and run it."""
        kind, subject, detail = reason
        if kind == "cache":
            self._warn(
                detail,
                "The cache cannot be opened (%s); the call of %s runs without it",
                detail,
                self.name,
            )
        elif kind == "indigestible":
            self._warn(
                detail,
                "No hash for argument: %r of %s (%s); the call runs without a cache. Pass "
                "something that has content, or give its class a __digest__ or a hook",
                subject,
                self.name,
                _culprit(detail, subject),
            )
        elif kind == "captured":
            self._warn(
                detail,
                "No hash for what %s uses (%s); the call runs without a cache. Pass it as an "
                "argument, or give its class a __digest__ or a hook",
                self.name,
                _culprit(detail),
            )
        else:
            missing = ", ".join(subject)
            self._warn(
                TypeError(f"{self.name} needs {missing} by keyword to be cached"),
                "Missing required keyword arguments for caching: %s (calling %s)",
                subject,
                self.name,
            )
        return self._run(None, args, kwargs)

    def _warn(self, error: Exception, message: str, *about: Any) -> None:
        """Say why a call is not cached; raise it where that is what users asked for."""
        if self.is_strict():
            error.add_note(message % about)
            raise error
        logger.warning(message, *about)

    def is_strict(self) -> bool:
        """Whether what would go on without the cache, with a warning, raises instead."""
        return strict_by_default() if self.strict is None else self.strict

    def _run(self, key: Digest | None, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        if not self.isolate:
            return self.func(*args, **kwargs)
        from fleche._isolated import fresh_directory

        with fresh_directory(key or "uncached"):
            return self.func(*args, **kwargs)

    def _on_miss(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        args: tuple[Any, ...],
        kwargs: Arguments,
        error: Exception | None,
        code: Digest | None,
    ) -> Any:
        """Run a call that is not in the cache, and save what it returns."""
        name = self.name
        if error is None:
            logger.debug("Cache miss for %s with key %s", name, key)
        else:
            logger.warning(
                "Cache failed to load %s for %s; it is computed", key, name, exc_info=error
            )
        if self.pending and (running := self._running(cache, key)) is not None:
            return running
        call = self._call_of(arguments, code)
        try:
            prepared = _prepare(cache, key, call, digests)
        except Exception as failure:
            if self.is_strict():
                raise
            # Once for each call: a cache that is out of reach fails again in the same way.
            if error is None or str(failure) != str(error):
                logger.warning("Cache failed to prepare call of %s (%s)", name, key, exc_info=True)
            return self._run(key, args, kwargs)
        begun = self._before((*get_metadata(), *self.meta), call)
        try:
            result = self._run(key, args, kwargs)
        except BaseException:
            self._abandon(prepared)
            raise
        if self.is_strict():
            self._check_unchanged(prepared, call.arguments, digests)
        save = functools.partial(self._save, cache, key, prepared, call, begun)
        if _is_future(result):
            self._save_when_done(cache, key, prepared, result, save)
        else:
            save(result)
        return result

    def _check_unchanged(
        self,
        prepared: PreparedCall | AdmittedCall,
        arguments: Arguments,
        digests: dict[str, Digest],
    ) -> None:
        for name, value in arguments.items():
            try:
                now = digest(value, typed=self.typed)
            except Indigestible:
                # A default that counts as the default.
                continue
            if now != digests[name]:
                self._abandon(prepared)
                raise ValueError(
                    f"{self.name} changed its argument {name!r}: its result is not cached, as a "
                    f"hit would not change it. Let it work on a copy, or ignore the argument"
                )

    def _before(self, metadata: tuple[MetaData, ...], call: Call) -> list[Begun]:
        """What the metadata knows before the body runs, as far as it did not fail."""
        begun: list[Begun] = []
        for item in metadata:
            try:
                begun.append((item, item.name, dict(item.pre(call))))
            except Exception:
                _warn_of_metadata(item, call)
        return begun

    def _after(self, begun: list[Begun], call: Call) -> Recorded:
        """What is recorded of a call after the body; several of one name add to each other."""
        recorded: Recorded = defaultdict(dict)
        for item, name, held in begun:
            try:
                held = {**held, **item.post(dict(held), call)}
                recorded[name].update(held)
            except Exception:
                _warn_of_metadata(item, call)
        return recorded

    def _save(
        self,
        cache: BaseCache,
        key: Digest,
        prepared: PreparedCall | AdmittedCall,
        call: Call,
        begun: list[Begun],
        result: Any,
    ) -> None:
        """Save what a call returned; whatever fails, the caller has the result already."""
        name = self.name
        call.result = result
        try:
            if result is None:
                self._abandon(prepared)
                self._on_none(cache, key)
                return
            recorded = self._after(begun, call)
            logger.debug("Saving result for %s with key %s", name, key)
            prepared.commit(result, recorded)
            # Not before: where nothing can be saved, one warning says so.
            for argument in dict.fromkeys(call._unsaved or ()):
                warn_of_unsaved_argument(argument)
        except Exception as error:
            self._abandon(prepared)
            if self.is_strict():
                raise
            self._say_unsaved(key, error)

    def _say_unsaved(self, key: Digest, error: Exception) -> None:
        from fleche.caches import Rejected

        name = self.name
        if isinstance(error, SaveError):
            error = Rejected(error)
        if isinstance(error, Rejected):
            logger.warning("Cache rejected save: %s (%s, %s)", error.args, name, key)
        elif isinstance(error, Indigestible):
            logger.warning(
                "No hash for the result of %s (%s); it is not cached", name, _culprit(error)
            )
        else:
            logger.warning("Cache failed to save %s (%s)", name, key, exc_info=error)

    def _on_unusual(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        plain: _core.PlainCall,
        recorded: Recorded,
        result: Any,
        code: Digest | None,
    ) -> None:
        """Go on with a call that the core ran, and that returned nothing, or nothing yet."""
        call = self._call_of(arguments, code)
        prepared = AdmittedCall(plain, cache, key, call, digests)
        begun: list[Begun] = [(_runtime_of(name), name, held) for name, held in recorded.items()]
        save = functools.partial(self._save, cache, key, prepared, call, begun)
        if result is None:
            save(result)
        else:
            self._save_when_done(cache, key, prepared, result, save)

    def _abandon(self, prepared: PreparedCall | AdmittedCall) -> None:
        try:
            prepared.abandon()
        except Exception:
            logger.warning("Cache failed to abandon a call of %s", self.name, exc_info=True)

    def _on_none(self, cache: BaseCache, key: Digest) -> None:
        from fleche.caches import RefreshingCache

        if isinstance(cache, RefreshingCache) and (
            cache._evict_older(key) or cache.cache.contains(key)
        ):
            cache.evict(key)
            logger.warning("Function returned None during rerun, evicted stale cache entry")
        elif self.is_strict():
            raise SaveError(f"{self.name} returned None, which is not cached")
        else:
            logger.warning("Function returned None, not caching")

    def _running(self, cache: BaseCache, key: Digest) -> Any:
        """The future that computes a call at this moment, or its result; `None` if none does."""
        with self.pending_lock:
            held = self.pending.get(key)
        if held is None or held[0] is not cache:
            return None
        future = held[1]
        if future.cancelled():
            return None
        if not future.done():
            return future
        return None if future.exception() is not None else future.result()

    def _save_when_done(
        self,
        cache: BaseCache,
        key: Digest,
        prepared: PreparedCall | AdmittedCall,
        future: Future[Any],
        save: Callable[[Any], None],
    ) -> None:
        pending = cache, future

        def done(finished: Future[Any]) -> None:
            try:
                if finished.cancelled() or finished.exception() is not None:
                    self._abandon(prepared)
                else:
                    save(finished.result())
            finally:
                with self.pending_lock:
                    if self.pending.get(key) is pending:
                        del self.pending[key]

        with self.pending_lock:
            self.pending[key] = pending
        future.add_done_callback(done)


class AdmittedCall:
    """As `PreparedCall`, of a cache that is a plain pair of built-in storages: no way through the
    methods of all three."""

    __slots__ = ("cache", "call", "digests", "key", "plain")

    def __init__(
        self,
        plain: _core.PlainCall,
        cache: BaseCache,
        key: Digest,
        call: Call,
        digests: dict[str, Digest],
    ) -> None:
        self.plain = plain
        self.cache = cache
        self.key = key
        self.call = call
        self.digests = digests

    def commit(self, result: Any, metadata: Recorded) -> None:
        call = self.call
        record = DigestedCall(
            call.name,
            self.digests,
            None,
            metadata,
            call.module,
            call.version,
            call.code_digest,
        )
        with self.cache._operation_context(self.key):
            try:
                self.plain.commit(record, result, call.arguments)
            except SaveError as error:
                from fleche.caches import Rejected

                raise Rejected(error) from error

            finally:
                self.plain.release()

    def abandon(self) -> None:
        self.plain.release()


def _prepare(
    cache: BaseCache, key: Digest, call: Call, digests: dict[str, Digest]
) -> PreparedCall | AdmittedCall:
    """Store the arguments of a call and seal its key, before its body runs."""
    # The storages tell of every step at this level: through their methods, then.
    if not storage_logger.isEnabledFor(logging.DEBUG):
        admitted = _core.PlainCall.admit(cache, key, call.arguments, digests)
        if admitted is not None:
            plain, failed = admitted
            call.__dict__["_unsaved"] = failed
            return AdmittedCall(plain, cache, key, call, digests)
    call.__dict__.update(_digests=digests, _unsaved=[])
    try:
        return cache.prepare(call)
    finally:
        del call.__dict__["_digests"]


def _with_values(args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[Any, ...], Arguments]:
    """The arguments as a call would take them."""
    named = {name: _value_of(value) for name, value in kwargs.items()}
    return tuple(map(_value_of, args)), named


def _value_of(argument: Any) -> Any:
    """What a call puts in place of a `Digest`, where the cache has it."""
    if type(argument) is not Digest:
        return argument
    try:
        return get_cache().load_value(argument)
    except Exception:
        # Good enough where equal values have one digest; the call itself would say what is wrong.
        return argument


def _check_names(
    name: str,
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
                f"{option}={unknown[0]!r}: {name} has no such parameter; it has "
                f"{', '.join(parameters) or 'none'}"
            )


def _culprit(error: Indigestible, of: str = "") -> str:
    """What has no digest, and where in the value it is, in words."""
    culprit = error.args[0] if error.args else error
    what = culprit if isinstance(culprit, str) else f"a {_type_name(culprit)}"
    path = getattr(error, "path", "")
    return f"{of}{path}: {what}".strip() if path else what


@functools.cache
def strict_by_default() -> bool:
    """What `FLECHE_STRICT`, or `strict` in section `[default]` of the configuration, says.

    Raises:
        ValueError: if that is no truth value.
    """
    import os

    if (text := os.environ.get("FLECHE_STRICT")) is not None:
        known = {"": False, "0": False, "false": False, "1": True, "true": True}
        if text.lower() not in known:
            raise ValueError(f"FLECHE_STRICT={text!r}: expected 1 or 0")
        return known[text.lower()]
    from fleche import config

    return bool(config._default_section(config._load_merged_config()).get("strict", False))


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _runtime_of(name: str) -> MetaData:
    """The only metadata that the core begins itself."""
    from fleche.metadata import Runtime

    runtime = Runtime()
    runtime.name = name
    return runtime


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
