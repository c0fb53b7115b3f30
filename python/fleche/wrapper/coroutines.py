"""Calls of coroutine functions: looked up and saved without keeping the event loop waiting.

What is in memory is looked up where the call is; files and databases are read and written in
threads of ours. The body runs in the task that awaits it, in its context. Of several tasks of one
loop that want the same call at the same time one computes it, the others wait for it and find it in
the cache; where it fails, is cancelled or cannot be cached, they compute it themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from fleche._foundation.log import logger_of
from fleche._foundation.pools import Pool
from fleche.caches import Cache
from fleche.call.outcomes import Items, given
from fleche.digest import Digest
from fleche.state import get_cache
from fleche.storage.memory import CallMemory, ValueMemory
from fleche.wrapper.freshness import Stale, renewing
from fleche.wrapper.iterated import IteratedCalls, Recording
from fleche.wrapper.missed import Missed
from fleche.wrapper.misses import Arguments, Misses
from fleche.wrapper.once import Once, held

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.storage.claims import Claims

__all__ = ["AwaitedCalls"]

logger = logger_of("fleche")

_T = TypeVar("_T")

# A loop, a cache, and a key.
_Place: TypeAlias = tuple[int, int, Digest]

# Enough for disks and databases to have something to do; what waits there takes no processor.
_THREADS = Pool("fleche", 8)


class AwaitedCalls:
    """The calls of a coroutine function.

    Args:
        misses: what its misses take.
        once: has one of several compute.
        key_of: gives the key of a call.
        reads_files: whether files are among its arguments, which takes as long as a disk does.
    """

    def __init__(
        self,
        misses: Misses,
        once: Once,
        key_of: Callable[[tuple[Any, ...], Arguments], Digest],
        reads_files: bool = False,
    ) -> None:
        self.misses = misses
        self.once = once
        self.key_of = key_of
        self.reads_files = reads_files
        self._renewals: set[asyncio.Task[None]] = set()
        # By loop, cache and key: what is done when the computation is over, and says whether it
        # came to a result.
        self._running: dict[_Place, asyncio.Future[bool]] = {}
        # How many computations have ended.
        self._ended = 0

    async def call(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments) -> Any:
        """The result of a call, cached or computed.

        Args:
            run: the look-up, `_core.CachedFunction.run`.
            args: the call's positional arguments.
            kwargs: its keyword arguments.
        """
        waited = looked_again = False
        while True:
            ended = self._ended
            if not self.reads_files and _is_at_hand():
                found = run(args, kwargs)
            else:
                found = await _aside(run, args, kwargs)
            if type(found) is types.CoroutineType:
                # The arguments did not fit the signature, but the function takes them.
                return await found
            if type(found) is Stale:
                self._begin_renewal(run, args, kwargs)
                return given(found.result)
            if type(found) is not Missed:
                return found
            if found.found is None:
                if found.reason is not None:
                    self.misses.tell_uncached(found.reason)
                return await self.misses.function(*args, **kwargs)
            cache, key = found.found[:2]
            place = id(_loop()), id(cache), key
            others = self._running.get(place)
            if others is None and ended != self._ended and not looked_again:
                # What ended while it was looked for may be there now.
                looked_again = True
                continue
            if others is None or waited:
                return await self._compute(place, run, found.found)
            await asyncio.wait([others])
            # Where it failed or was cancelled, which is its own caller's affair, the next one
            # computes; a result that is not found now cannot be cached.
            waited = others.result()

    def _begin_renewal(
        self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
    ) -> None:
        """Compute a call again in a task of its own, unless that is going on."""
        if (loop := _loop()) is not None:
            task = loop.create_task(self._renew(run, args, kwargs))
            self._renewals.add(task)
            task.add_done_callback(self._renewals.discard)

    async def _renew(
        self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
    ) -> None:
        cache = get_cache()
        try:
            with renewing(cache, self.key_of(args, kwargs)) as goes_on:
                if goes_on:
                    await self.call(run, args, kwargs)
        except Exception:
            name = self.misses.name
            logger.warning(
                "Computing a call of %s again failed; the old result stays", name, exc_info=True
            )

    async def _compute(self, place: _Place, run: Callable[..., Any], found: tuple[Any, ...]) -> Any:
        """Have others of this loop wait while the call is computed, here or elsewhere."""
        loop = _loop()
        done = None if loop is None else loop.create_future()
        owns = done is not None and self._running.setdefault(place, done) is done
        ended = False
        try:
            claims = self.once.claims_of(found[0], found[1])
            if claims is None:
                result = await self._compute_here(*found)
            else:
                result = await self._compute_once(claims, run, found)
            ended = True
            return result
        finally:
            self._ended += 1
            if owns and done is not None:
                del self._running[place]
                done.set_result(ended)

    async def _compute_once(
        self, claims: Claims, run: Callable[..., Any], found: tuple[Any, ...]
    ) -> Any:
        cache, key = found[:2]
        here = _here if _is_memory(cache) else _aside
        claim = await self.once.wait_for_claim_async(claims, cache, key, here)
        if claim is None:
            return await self._compute_here(*found)
        try:
            with held(claims, key, claim):
                again = await here(run, *found[4:6])
                if type(again) is not Missed:
                    return again
                return await self._compute_here(*(again.found or found))
        finally:
            await here(claim.release)

    async def _compute_here(
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
        misses = self.misses
        misses.say_missed(cache, key, error)
        here = _here if _is_memory(cache) and not self.reads_files else _aside
        begin = misses.begin, cache, key, arguments, digests, error, code, with_files
        computation = await here(*begin)
        if computation is None:
            return await misses.function(*args, **kwargs)
        try:
            result = await misses.function(*args, **kwargs)
        except BaseException as failure:
            await here(computation.fail, failure)
            raise
        # Once begun, it is saved, whatever becomes of who waits.
        await here(computation.finish, result)
        return result


async def iterate(
    calls: IteratedCalls, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
) -> AsyncIterator[Any]:
    """The items of a call of an asynchronous generator, cached or computed."""
    found = await (_here if _is_at_hand() else _aside)(run, args, kwargs)
    claim, here, recording = None, _aside, Recording(None)
    if type(found) is Missed and found.found is not None:
        cache, key = found.found[:2]
        here = _here if _is_memory(cache) else _aside
        claims = calls.once.claims_of(cache, key)
        if claims is not None:
            claim = await calls.once.wait_for_claim_async(claims, cache, key, here)
        if claims is not None and claim is not None:
            with held(claims, key, claim):
                found = await here(run, args, kwargs)
    try:
        if type(found) is Items:
            for item in found.items:
                yield item
            return
        if type(found) is not Missed:
            # The arguments did not fit the signature, but the function takes them.
            source = found
        elif found.found is None:
            source = calls.uncached(found, args, kwargs)
        else:
            cache, key, arguments, digests, args, kwargs, error, *more = found.found
            calls.misses.say_missed(cache, key, error)
            begin = calls.misses.begin, cache, key, arguments, digests, error, *more
            recording = Recording(await here(*begin))
            source = calls.misses.function(*args, **kwargs)
        async for item in source:
            recording.add(item)
            yield item
        await here(recording.finish)
    finally:
        # Given up half-way, or failed, unless it is finished.
        recording.give_up()
        if claim is not None:
            claim.release()


def _is_at_hand() -> bool:
    """Whether looking into the active cache takes microseconds."""
    try:
        return _is_memory(get_cache())
    except Exception:
        # It cannot be made, which is said where it is wanted.
        return True


def _is_memory(cache: BaseCache) -> bool:
    return (
        type(cache) is Cache
        and type(cache.values) is ValueMemory
        and type(cache.calls) is CallMemory
    )


def _loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs this task; `None` under another library's."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _aside(work: Callable[..., _T], *args: Any) -> _T:
    """Do something in a thread of ours, in the context of this task, and to its end, whatever
    becomes of the task; under another library's loop, here."""
    loop = _loop()
    if loop is None:
        return work(*args)
    context = contextvars.copy_context()
    return await asyncio.shield(loop.run_in_executor(_THREADS.threads(), context.run, work, *args))


async def _here(work: Callable[..., _T], *args: Any) -> _T:
    """As `_aside`, for what takes microseconds."""
    return work(*args)
