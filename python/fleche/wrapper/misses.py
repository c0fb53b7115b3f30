"""What a call takes that is no hit: it is computed, and what it returned is saved.

A hit is one walk through Rust (`_core.CachedFunction.run`), and so is a miss in a plain cache; all
else goes on here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche import _core
from fleche._foundation.errors import SaveError
from fleche._foundation.log import logger_of
from fleche.call import Call, PreparedCall, warn_of_unsaved_argument
from fleche.call.outcomes import Outcome, shown
from fleche.digest import Digest, Indigestible, digest
from fleche.state import get_cache, get_metadata
from fleche.wrapper.admission import AdmittedCall, admit
from fleche.wrapper.counting import Counting
from fleche.wrapper.keeping import Keeping
from fleche.wrapper.pending import Pending, is_future
from fleche.wrapper.recording import Begun, Recorded, after, before, begun_by_core
from fleche.wrapper.strictness import Strictness, culprit

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.metadata import MetaData

logger = logger_of("fleche")

Arguments: TypeAlias = dict[str, Any]
Admitted: TypeAlias = PreparedCall | AdmittedCall


class Misses:
    """The calls of a function that a cache does not hold.

    Args:
        name: the function's.
        function: what computes.
        call_of: makes the call of arguments and a code digest.
        strictness: whether what fails is raised.
        keeping: which outcomes are cached.
        counting: counts what becomes of them.
        isolate: whether each call runs in a directory of its own.
        typed: whether arguments count by type and value.
        meta: metadata to record besides the active ones.
        timed: whether to record when a call ran in any case.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        call_of: Callable[[Arguments, Digest | None], Call],
        strictness: Strictness,
        keeping: Keeping,
        counting: Counting,
        *,
        isolate: bool,
        typed: bool,
        meta: tuple[MetaData, ...],
        timed: bool = False,
    ) -> None:
        self.name = name
        self.function = function
        self.call_of = call_of
        self.is_strict = strictness
        self.keeping = keeping
        self.counting = counting
        self.isolate = isolate
        self.typed = typed
        self.meta = meta
        self.timed = timed
        self.pending = Pending()

    def run_uncached(
        self, args: tuple[Any, ...], kwargs: Arguments, reason: tuple[str, Any, Any]
    ) -> Any:
        """Say why a call is not cached, and run it."""
        self.tell_uncached(reason)
        return self._run(None, args, kwargs)

    def tell_uncached(self, reason: tuple[str, Any, Any]) -> None:
        """Say why a call is not cached; in strict, raise it."""
        kind = reason[0]
        # A cache that cannot be opened has no statistics.
        self.counting.uncached(None if kind == "cache" else get_cache(), None, kind)
        self.is_strict.tell_uncached(reason)

    def compute(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        args: tuple[Any, ...],
        kwargs: Arguments,
        error: Exception | None,
        code: Digest | None,
        with_files: tuple[str, ...] = (),
    ) -> Any:
        """Run a call that is not in the cache, and save what it returns."""
        self.say_missed(cache, key, error)
        if self.pending.futures and (running := self.pending.running(cache, key)) is not None:
            return running
        computation = self.begin(cache, key, arguments, digests, error, code, with_files)
        if computation is None:
            return self._run(key, args, kwargs)
        try:
            result = self._run(key, args, kwargs)
        except BaseException as error:
            computation.fail(error)
            raise
        computation.finish(result)
        return result

    def say_missed(self, cache: BaseCache, key: Digest, error: Exception | None) -> None:
        """Say that a call is not in the cache, or cannot be loaded from it."""
        self.counting.missed(cache, key)
        if error is None:
            logger.debug("Cache miss for %s with key %s", self.name, key)
        else:
            logger.warning(
                "Cache failed to load %s for %s; it is computed", key, self.name, exc_info=error
            )

    def begin(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        error: Exception | None,
        code: Digest | None,
        with_files: tuple[str, ...] = (),
    ) -> Computation | None:
        """Admit a call to the cache, and ask its metadata; `None` if it is to run uncached."""
        call = self.call_of(arguments, code)
        already = _core.written_so_far()
        try:
            admitted = admit(cache, key, call, digests)
        except Exception as failure:
            from fleche.caches import Rejected

            reason = "rejected" if isinstance(failure, Rejected) else "cache"
            self.counting.uncached(cache, key, reason)
            if self.is_strict():
                raise
            # Once for each call: a cache that is out of reach fails again in the same way.
            if error is None or str(failure) != str(error):
                logger.warning(
                    "Cache failed to prepare call of %s (%s)", self.name, key, exc_info=True
                )
            return None
        written = _since(already)
        begun = before(self._metadata(), call)
        computation = Computation(self, cache, key, call, digests, admitted, begun, with_files)
        computation.written, computation.started = written, time.perf_counter()
        return computation

    def _metadata(self) -> tuple[MetaData, ...]:
        metadata = *get_metadata(), *self.meta
        if self.timed:
            from fleche.metadata import Runtime

            if not any(isinstance(each, Runtime) for each in metadata):
                return *metadata, Runtime()
        return metadata

    def go_on(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        plain: _core.PlainCall,
        recorded: Recorded,
        result: Any,
        code: Digest | None,
        with_files: tuple[str, ...] = (),
    ) -> None:
        """Go on with a call that the core ran, and that returned nothing, or nothing yet."""
        call = self.call_of(arguments, code)
        admitted = AdmittedCall(plain, cache, key, call, digests)
        begun = begun_by_core(recorded)
        computation = Computation(self, cache, key, call, digests, admitted, begun, with_files)
        computation.keep(result)

    def keep_raised(
        self,
        cache: BaseCache,
        key: Digest,
        arguments: Arguments,
        digests: dict[str, Digest],
        plain: _core.PlainCall,
        recorded: Recorded,
        error: BaseException,
        code: Digest | None,
        with_files: tuple[str, ...] = (),
    ) -> None:
        """Go on with a call that the core ran, and that raised."""
        call = self.call_of(arguments, code)
        admitted = AdmittedCall(plain, cache, key, call, digests)
        begun = begun_by_core(recorded)
        computation = Computation(self, cache, key, call, digests, admitted, begun, with_files)
        computation.fail(error)

    def _run(self, key: Digest | None, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        if not self.isolate:
            return self.function(*args, **kwargs)
        from fleche.wrapper.isolated import fresh_directory

        with fresh_directory(key or "uncached"):
            return self.function(*args, **kwargs)

    def say_unsaved(self, key: Digest, error: Exception, cache: BaseCache) -> None:
        """Say that a result is not cached, and why."""
        from fleche.caches import Rejected

        name = self.name
        if isinstance(error, SaveError):
            error = Rejected(error)
        self.counting.uncached(cache, key, "rejected" if isinstance(error, Rejected) else "unsaved")
        if isinstance(error, Rejected):
            logger.warning("Cache rejected save: %s (%s, %s)", error.args, name, key)
        elif isinstance(error, Indigestible):
            logger.warning(
                "No hash for the result of %s (%s); it is not cached", name, culprit(error)
            )
        elif _is_file_change(error):
            logger.warning("Not caching a result of %s, as %s", name, error)
        else:
            logger.warning("Cache failed to save %s (%s)", name, key, exc_info=error)

    def evict_old(self, cache: BaseCache, key: Digest) -> bool:
        """In a rerun, whose result is not cached, remove the old one; whether there was any."""
        from fleche.caches import RefreshingCache

        if not isinstance(cache, RefreshingCache):
            return False
        if not (cache._evict_older(key) or cache.cache.contains(key)):
            return False
        cache.evict(key)
        return True

    def on_none(self, cache: BaseCache, key: Digest) -> None:
        """Go without a result that is `None`; in a rerun it takes the old one's place."""
        if self.evict_old(cache, key):
            logger.warning("Function returned None during rerun, evicted stale cache entry")
        elif self.is_strict():
            raise SaveError(f"{self.name} returned None, which is not cached")
        else:
            logger.warning("Function returned None, not caching")


class Computation:
    """A call that is computed, from its admission to a cache until its result is saved.

    Args:
        misses: those of its function.
        cache: where it was admitted.
        key: its key there.
        call: with its live arguments.
        digests: those of the arguments, before it ran.
        admitted: what keeps its place in the cache.
        begun: what metadata knew before it ran.
        with_files: the names of the arguments that hold files.
    """

    def __init__(
        self,
        misses: Misses,
        cache: BaseCache,
        key: Digest,
        call: Call,
        digests: dict[str, Digest],
        admitted: Admitted,
        begun: list[Begun],
        with_files: tuple[str, ...] = (),
    ) -> None:
        self.misses = misses
        self.cache = cache
        self.key = key
        self.call = call
        self.digests = digests
        self.admitted = admitted
        self.begun = begun
        self.with_files = with_files
        # What was written for its arguments, and when it began; `None`: the core counted it.
        self.written = 0, 0
        self.started: float | None = None

    def _took(self) -> float | None:
        """How long it ran, at the first time that this is asked."""
        started, self.started = self.started, None
        return None if started is None else time.perf_counter() - started

    def finish(self, result: Any) -> None:
        """See that nothing speaks against the result, and keep it.

        Raises:
            ValueError: in strict, if the call changed an argument.
        """
        if (seconds := self._took()) is not None:
            self.misses.counting.computed(self.cache, self.key, seconds)
        if self.misses.is_strict():
            self._check_unchanged()
        self.keep(result)

    def keep(self, result: Any) -> None:
        """Save a result, or what a future is going to give."""
        if is_future(result):
            pending = self.misses.pending
            pending.add(self.cache, self.key, result, self._save, self.abandon)
        else:
            self._save(result)

    def fail(self, error: BaseException) -> None:
        """Give the call up, or save what it raised, where that is wanted."""
        if (seconds := self._took()) is not None:
            self.misses.counting.failed(self.cache, self.key, seconds, error)
        try:
            outcome = self.misses.keeping.outcome_of(error)
        except Exception as mistake:
            # In the configuration: what the call raised is not lost for it.
            self.abandon()
            raise mistake from error
        if outcome is None:
            self.abandon()
        else:
            self._save(outcome)

    def abandon(self) -> None:
        """Give the call up: nothing of it will be stored."""
        try:
            self.admitted.abandon()
        except Exception:
            logger.warning("Cache failed to abandon a call of %s", self.misses.name, exc_info=True)

    def _check_unchanged(self) -> None:
        misses = self.misses
        for name, value in self.call.arguments.items():
            try:
                now = digest(value, typed=misses.typed)
            except Indigestible:
                # A default that counts as the default.
                continue
            if now != self.digests[name]:
                self.abandon()
                raise ValueError(
                    f"{misses.name} changed its argument {name!r}: its result is not cached, as a "
                    f"hit would not change it. Let it work on a copy, or ignore the argument"
                )

    def _save(self, result: Any) -> None:
        """Save what the call returned; whatever fails, the caller has the result already."""
        misses, call = self.misses, self.call
        call.result = result
        try:
            if type(result) is not Outcome and misses.keeping.refuses(shown(result)):
                self.abandon()
                misses.evict_old(self.cache, self.key)
                misses.counting.uncached(self.cache, self.key, "when")
                logger.debug("Not caching a result of %s, as it was told", misses.name)
                return
            if result is None:
                if not misses.keeping.none():
                    self.abandon()
                    misses.counting.uncached(self.cache, self.key, "none")
                    misses.on_none(self.cache, self.key)
                    return
                result = Outcome()
            if self.with_files:
                _core.check_files(call.arguments, self.digests, self.with_files, misses.typed)
            recorded = after(self.begun, call)
            logger.debug("Saving result for %s with key %s", misses.name, self.key)
            already = _core.written_so_far()
            self.admitted.commit(result, recorded)
            size, pickled = map(sum, zip(self.written, _since(already), strict=True))
            misses.counting.saved(self.cache, self.key, size, pickled)
            # Not before: where nothing can be saved, one warning says so.
            for argument in dict.fromkeys(call._unsaved or ()):
                warn_of_unsaved_argument(argument)
        except Exception as error:
            self.abandon()
            if misses.is_strict():
                raise
            misses.say_unsaved(self.key, error, self.cache)


def _since(already: tuple[int, int]) -> tuple[int, int]:
    """How many bytes, and values that had to be pickled, this thread wrote since then."""
    size, pickled = _core.written_so_far()
    return size - already[0], pickled - already[1]


def _is_file_change(error: Exception) -> bool:
    files = sys.modules.get("fleche.files")
    return files is not None and isinstance(error, files.FileChanged)
