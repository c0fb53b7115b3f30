"""The calls of a decorated function: their keys, and where they are looked up."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fleche import _core
from fleche.call import Call, QueryCall, Version
from fleche.call.filed import take_files
from fleche.call.outcomes import given, stored_result
from fleche.call.profile import (
    code_digest_of,
    compile_signature,
    marked_of,
    module_of,
    qualname_of,
    signature_of,
    version_of,
)
from fleche.digest import Digest, Indigestible
from fleche.state import get_cache
from fleche.wrapper.counting import Counting
from fleche.wrapper.keeping import Keeping
from fleche.wrapper.missed import Missed
from fleche.wrapper.misses import Arguments, Misses
from fleche.wrapper.once import Once
from fleche.wrapper.options import Options
from fleche.wrapper.strictness import Strictness
from fleche.wrapper.targets import Target

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.wrapper.coroutines import AwaitedCalls
    from fleche.wrapper.iterated import IteratedCalls


class CachedCalls:
    """What a decorated function does: `run` is a call, in the core as far as it is a hit.

    Args:
        target: the function, and what it was bound to.
        options: what it was decorated with.

    Raises:
        ValueError: if an option names a parameter that the function does not have.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.target = target
        self.options = options
        self._set_up()

    def _set_up(self) -> None:
        options, func = self.options, self.target.function
        self.func = func
        self.name = qualname_of(self.target.identity)
        self.signature = signature = signature_of(func)
        options.check_names(self.name, signature)
        if options.isolate and options.iterate:
            raise TypeError(
                f"{self.name} is iterated over, and cannot be isolated: the working directory is "
                f"the process's, and others run between two items"
            )
        if options.isolate and inspect.iscoroutinefunction(func):
            raise TypeError(
                f"{self.name} is a coroutine function, which cannot be isolated: the working "
                f"directory is the process's, and other tasks run while it waits"
            )
        ignored, required, self.files = marked_of(func, signature)
        self.ignored = options.ignore | ignored
        self.required = options.require | required
        strictness = Strictness(self.name, options.strict)
        self.keeping = Keeping(options.none, options.exceptions, options.when)
        misses = Misses(
            self.name,
            func,
            self._call_of,
            strictness,
            self.keeping,
            Counting(self.named),
            isolate=options.isolate,
            typed=options.typed,
            meta=options.meta,
            timed=options.expires,
        )
        self.misses = misses
        self.freshness = options.freshness()
        self.moves = options.moves(self.name, signature)
        self.once = Once(self.name, options.once, options.wait)
        on_miss: Any = self._on_miss
        on_uncached: Any = misses.run_uncached
        self.awaited: AwaitedCalls | None = None
        self.iterated: IteratedCalls | None = None
        if options.iterate:
            from fleche.wrapper.iterated import IteratedCalls

            if inspect.iscoroutinefunction(func):
                raise TypeError(f"{self.name} is a coroutine function: it gives no iterator")
            self.iterated = IteratedCalls(misses, self.once)
            on_miss, on_uncached = Missed.on_miss, Missed.on_uncached
        elif inspect.iscoroutinefunction(func):
            from fleche.wrapper.coroutines import AwaitedCalls

            self.awaited = AwaitedCalls(misses, self.once, self.key, reads_files=bool(self.files))
            on_miss, on_uncached = Missed.on_miss, Missed.on_uncached
        self.compiled = functools.partial(
            _core.CachedFunction,
            function=func,
            signature=compile_signature(signature),
            ignored=sorted(self.ignored),
            required=sorted(self.required),
            files=self.files,
            typed=options.typed,
            identify=self._identify,
            hash_code=options.code_mode,
            in_python=options.needs_python or on_miss != self._on_miss,
            on_raised=misses.keep_raised,
            metadata=options.meta,
            pending=misses.pending.futures,
            on_unusual=misses.go_on,
            on_unsaved=misses.say_unsaved,
            is_strict=strictness,
            look_up=None if self.freshness is None else self._look_up,
            on_absent=None if self.moves is None else self._find_moved,
        )
        self.core = self.compiled(on_miss=on_miss, on_uncached=on_uncached)
        self.run = self.core.run

    # Locks and the compiled part are made again where a pickle is loaded: when they are first
    # used, as a function that refers to itself is still without its defaults while it is loaded.
    def __getstate__(self) -> dict[str, Any]:
        return {"target": self.target, "options": self.options}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "target" not in self.__dict__ or "run" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._set_up()
        return getattr(self, name)

    def named(self) -> tuple[str, str | None]:
        """Name and module, as far as they count."""
        return self.name, module_of(self.target.identity) if self.options.hash_module else None

    def _identify(self) -> tuple[str, str | None, Version, Digest | None]:
        """Name, module, version and, in scheme `sha256`, code digest, as far as they count.

        In scheme `exact` the core finds out by itself whether and how the code counts.
        """
        options, identity = self.options, self.target.identity
        version = version_of(identity) if options.version is None else options.version
        counts = options.hash_code and _core.scheme() == "sha256"
        return (
            *self.named(),
            version if options.hash_version else None,
            code_digest_of(self.func) if counts else None,
        )

    def _on_miss(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        args: tuple[Any, ...],
        kwargs: Arguments,
        *more: Any,
    ) -> Any:
        misses = self.misses
        claims = self.once.claims_of(cache, key)
        if claims is None:
            return misses.compute(cache, key, arguments, digests, args, kwargs, *more)
        if (running := misses.pending.running(cache, key)) is not None:
            return running
        return self.once.run(
            claims,
            cache,
            key,
            lambda: misses.compute(cache, key, arguments, digests, args, kwargs, *more),
            lambda: self.run(args, kwargs),
        )

    @property
    def look_up_alone(self) -> Callable[..., tuple[Any, ...] | None] | None:
        """How a call is looked up where not everything is fresh; nothing is computed for it."""
        return None if self.freshness is None else functools.partial(self._look_up, renew=False)

    def _look_up(
        self,
        cache: BaseCache,
        key: Digest,
        args: tuple[Any, ...],
        kwargs: Arguments,
        renew: bool = True,
    ) -> tuple[Any, ...] | None:
        """What the cache holds of a call: the result, if it is good; nothing, if it is not; `None`
        if it holds none."""
        from fleche.wrapper.freshness import Renewals, Stale, State

        assert self.freshness is not None
        found = self.freshness.find(cache, key)
        if found is None:
            return None
        state, result = found
        if state is State.EXPIRED or result is None:
            return ()
        if state is State.STALE and renew:
            if self.awaited is not None:
                return (Stale(result),)
            renewals = self.__dict__.setdefault("renewals", Renewals(self.name, self.run))
            renewals.begin(cache, key, args, kwargs)
        return (result,)

    def _find_moved(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        code: Digest | None,
    ) -> Any:
        """The result of a call that was recorded before the function was moved; `None` if none."""
        assert self.moves is not None
        return self.moves.find(cache, self._call_of(arguments, code), digests, key)

    async def run_awaited(self, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        """As `run`, of a coroutine function."""
        if self.awaited is None:
            raise TypeError(f"{self.name} is no coroutine function")
        return await self.awaited.call(self.run, args, kwargs)

    def call(self, args: tuple[Any, ...], kwargs: Arguments) -> Call:
        """The call with its live arguments.

        Raises:
            TypeError: if the arguments do not fit.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        taken = take_files(self.files, self.signature, bound.arguments)
        arguments = {n: v for n, v in taken.items() if n not in self.ignored}
        return self._call_of(arguments, self.core.identity()[-1])

    def _call_of(self, arguments: Arguments, code: Digest | None) -> Call:
        """The call with these arguments and this code digest."""
        name, module, version, _ = self.core.identity()
        call = Call(name, arguments, {}, module, version, code)
        if self.options.typed:
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
            BaseException: what the call raised, if that is what the cache holds.
        """
        return given(self.stored(cache, args, kwargs))

    def stored(self, cache: BaseCache, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        """As `load`; what the call raised is not raised, but returned as it is stored."""
        key = self.key(args, kwargs)
        try:
            return self._found(cache, key)
        except KeyError:
            older = self.core.older(cache, *_with_values(args, kwargs))
            if older is None:
                moved = self._moved(cache, key, args, kwargs)
                if moved is None:
                    raise
                return moved if self.freshness is None else self._found(cache, key)
        found = cache._take_older(older)
        if found is None or self.freshness is not None:
            # If it is not there either: somebody may have filed it anew between the two looks.
            return self._found(cache, key)
        return found[0]

    def _moved(
        self,
        cache: BaseCache,
        key: Digest,
        args: tuple[Any, ...],
        kwargs: Arguments,
        file: bool = True,
    ) -> Any:
        if self.moves is None:
            return None
        call = self.call(args, kwargs)
        try:
            digests = call._argument_digests()
        except Indigestible:
            # A default that counts as the default.
            return None
        return self.moves.find(cache, call, digests, key, file=file)

    def _found(self, cache: BaseCache, key: Digest) -> Any:
        if self.freshness is None:
            return stored_result(cache.load(key))
        found = self.freshness.find(cache, key)
        if found is None or found[1] is None:
            raise KeyError(key)
        return found[1]

    def contained(self, cache: BaseCache, args: tuple[Any, ...], kwargs: Arguments) -> bool:
        """Whether a cache holds a call, under today's key or an older one."""
        if self.freshness is not None:
            try:
                return self.stored(cache, args, kwargs) is not None
            except KeyError:
                return False
        key = self.key(args, kwargs)
        if cache.contains(key):
            return True
        older = self.core.older(cache, *_with_values(args, kwargs))
        if older is None:
            return self._moved(cache, key, args, kwargs, file=False) is not None
        # At last as in `load`.
        return cache._find_older(older) is not None or cache.contains(key)

    def query_call(self, args: tuple[Any, ...], kwargs: Arguments) -> QueryCall:
        """The pattern of the calls with these arguments; those left out match everything."""
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        bound = take_files(self.files, self.signature, bound)
        arguments = {n: bound.get(n) for n in self.signature.parameters if n not in self.ignored}
        name, module, version, code = self.core.identity()
        # A name that others share does not say whose calls these are.
        own = code if self.options.hash_code is None else None
        return QueryCall(name, arguments, module=module, version=version, code_digest=own)

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter that may be passed by this name."""
        parameter = self.signature.parameters.get(name)
        return parameter is not None and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )


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
