"""One computation for all who want the same call at the same time: `@fleche(once=True)`.

Who misses claims the call; who cannot waits for the claim and looks again. A claim ends with its
owner, so that nobody waits for the dead.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from fleche._foundation.log import logger_of
from fleche.digest import Digest
from fleche.storage.claims import Claim, Claims, Holder, Unclaimable
from fleche.wrapper.pending import is_future

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["Once", "Running", "next_look"]

logger = logger_of("fleche")

# In seconds: how long a look at who holds a claim is good for, at first and later; half of the time
# waited, as a thousand may wait at one server; and after what time it is said loudly.
_FIRST_LOOK, _LATER_LOOK, _LONGEST_LOOK = 0.02, 0.5, 5.0
_PATIENCE = 60.0

# In seconds: the pauses of a task that waits, which lets others run meanwhile.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1

# So many earlier runs say how long one takes.
_ENOUGH = 50

# What was said of stores in which nothing can be claimed: once is enough.
_SAID: set[str] = set()

# The claims of this context, by place and key: of calls that run further up.
_HELD: ContextVar[dict[tuple[Any, str], Claim]] = ContextVar("_HELD")


@dataclass(frozen=True)
class Running:
    """A call that is computed at this moment.

    Args:
        holder: by whom.
        runtime: how long such calls took before, in seconds; `None` if that is not known.

    >>> from fleche.storage.claims import Holder
    >>> running = Running(Holder("n1", 7, "MainThread", time.time() - 60), 90.0)
    >>> running.holder.host, round(running.left)
    ('n1', 30)
    """

    holder: Holder
    runtime: float | None = None

    @property
    def elapsed(self) -> float:
        """For how many seconds it has been running, as far as the two clocks agree."""
        return max(time.time() - self.holder.since, 0.0)

    @property
    def left(self) -> float | None:
        """How many seconds it is likely to run still; `None` if that is not known."""
        return None if self.runtime is None else max(self.runtime - self.elapsed, 0.0)

    def __str__(self) -> str:
        left = "" if self.left is None else f", about {self.left:.0f} s left"
        return f"{self.holder} computes it since {self.elapsed:.0f} s{left}"


class Once:
    """Has one of those who want the same call compute it.

    Args:
        name: the function's.
        once: whether this is wanted; `None`: as the cache says.
        wait: how long to wait for others, in seconds; `None`: as long as they compute.
    """

    def __init__(self, name: str, once: bool | None, wait: float | None) -> None:
        self.name = name
        self._once = once
        self._wait = wait

    def claims_of(self, cache: BaseCache, key: Digest) -> Claims | None:
        """Where a call is to be claimed; `None` if it need not be, or runs further up already."""
        once = getattr(cache, "_once", False) if self._once is None else self._once
        claims = cache._claims() if once else None
        return None if claims is None or (claims.place, key) in _HELD.get({}) else claims

    def run(
        self,
        claims: Claims,
        cache: BaseCache,
        key: Digest,
        compute: Callable[[], Any],
        look_again: Callable[[], Any],
    ) -> Any:
        """The result of a call that was not there a moment ago.

        Args:
            claims: where it is claimed.
            cache: where it was looked for.
            key: its key.
            compute: runs it, whoever else does.
            look_again: loads it, or computes it; the claim is held meanwhile.
        """
        claim = self.wait_for_claim(claims, cache, key)
        if claim is None:
            return compute()
        result: Any = None
        try:
            with held(claims, key, claim):
                result = look_again()
        finally:
            # Of a call that gives a future it ends with that.
            if not is_future(result) or result.done():
                claim.release()
            else:
                result.add_done_callback(lambda _: claim.release())
        return result

    def wait_for_claim(self, claims: Claims, cache: BaseCache, key: Digest) -> Claim | None:
        """The claim on a call, once it is to be had; `None` if it is to be computed without one."""
        waiting = _Waiting(self, claims, cache, key)
        try:
            with waiting:
                claim, look = waiting.take(0), _FIRST_LOOK
                while claim is None and waiting.goes_on():
                    claim = waiting.take(waiting.pause(look))
                    look = next_look(look, waiting.waited)
        except Unclaimable as error:
            self.say_unclaimable(error)
            return None
        return claim

    async def wait_for_claim_async(
        self, claims: Claims, cache: BaseCache, key: Digest, aside: Any
    ) -> Claim | None:
        """As `wait_for_claim`, of a task.

        Args:
            aside: does something in a thread.
        """
        import asyncio

        waiting = _Waiting(self, claims, cache, key)
        pause = _FIRST_PAUSE
        try:
            with waiting:
                claim: Claim | None = await aside(waiting.take, 0)
                while claim is None and await aside(waiting.goes_on):
                    await asyncio.sleep(waiting.pause(pause))
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    claim = await aside(waiting.take, 0)
        except Unclaimable as error:
            self.say_unclaimable(error)
            return None
        return claim

    def say_unclaimable(self, error: Unclaimable) -> None:
        """Say that a call is computed, though others may compute it, too."""
        import logging

        level = logging.DEBUG if error.is_told or str(error) in _SAID else logging.WARNING
        _SAID.add(str(error))
        logger.log(level, "%s is computed whoever else computes it: %s", self.name, error)

    def running(self, cache: BaseCache, key: Digest) -> Running | None:
        """Who computes a call at this moment."""
        claims = cache._claims()
        try:
            holder = None if claims is None else claims.holder(key)
        except Unclaimable:
            holder = None
        return None if holder is None else Running(holder, self.runtime(cache))

    def runtime(self, cache: BaseCache) -> float | None:
        """How long calls of this function took before, in seconds: the median."""
        import statistics

        try:
            records = islice(cache.query(name=self.name), _ENOUGH)
            held = (each for record in records for each in record.metadata.values())
            times = [each["walltime"] for each in held if "walltime" in each]
        except Exception:
            return None
        return statistics.median(times) if times else None


def next_look(last: float, waited: float) -> float:
    """How long the next look at a claim is good for, in seconds.

    Args:
        last: how long the last one was.
        waited: how long the call has been waited for.

    >>> [next_look(0.02, 0.1), next_look(0.4, 1), next_look(2, 6), next_look(5, 1000)]
    [0.04, 0.5, 3.0, 5.0]
    """
    return min(2 * last, max(waited / 2, _LATER_LOOK), _LONGEST_LOOK)


class _Waiting:
    """A wait for a claim, which the claims of this context show while it goes on."""

    def __init__(self, once: Once, claims: Claims, cache: BaseCache, key: Digest) -> None:
        self._once, self._claims, self._cache, self._key = once, claims, cache, key
        self._begun = time.monotonic()
        self._noted: list[Claim] = []
        self._told = 0
        self._lock = threading.Lock()
        self._taken: Claim | None = None
        self._given_up = False

    @property
    def waited(self) -> float:
        """For how many seconds."""
        return time.monotonic() - self._begun

    def take(self, seconds: float) -> Claim | None:
        claim = self._claims.take(self._key, seconds)
        with self._lock:
            self._taken = claim
            if self._given_up and claim is not None:
                # The task was cancelled while a thread of ours took it.
                claim.release()
                return None
        if claim is not None and claim.dead is not None:
            logger.warning(
                "%s, which computed a call of %s (%s), has died; it is computed here",
                *(claim.dead, self._once.name, self._key),
            )
        return claim

    def pause(self, longest: float) -> float:
        """How long to wait until the next look."""
        wait = self._once._wait
        left = longest if wait is None else self._begun + wait - time.monotonic()
        return max(min(longest, left), 0.0)

    def goes_on(self) -> bool:
        """Whether to wait for whoever has the claim."""
        once, waited = self._once, self.waited
        if once._wait is not None and waited >= once._wait:
            logger.warning(
                "A call of %s (%s) is computed twice: after %g s somebody else still computes it",
                *(once.name, self._key, waited),
            )
            return False
        holder = self._claims.holder(self._key)
        self._tell(holder, waited)
        self._note()
        return not self._is_in_circle(holder)

    def _tell(self, holder: Holder | None, waited: float) -> None:
        if holder is None or self._told == 2 or (self._told == 1 and waited < _PATIENCE):
            return
        import logging

        loud = waited >= _PATIENCE
        self._told = 2 if loud else 1
        runtime = self._once.runtime(self._cache) if loud else None
        logger.log(
            logging.WARNING if loud else logging.INFO,
            "A call of %s (%s) waits: %s",
            *(self._once.name, self._key, Running(holder, runtime)),
        )

    def _note(self) -> None:
        """Have those see it who wait for what runs further up here."""
        if not self._noted:
            for claim in _HELD.get({}).values():
                claim.wait_for(self._key)
                self._noted.append(claim)

    def _is_in_circle(self, holder: Holder | None) -> bool:
        """Whether whom this waits for waits for this; then one of them computes.

        It is the one that wants the smallest key, which all of them can tell.
        """
        held = _HELD.get({})
        circle = [str(self._key)]
        while holder is not None and holder.waits_for is not None:
            circle.append(holder.waits_for)
            if (self._claims.place, holder.waits_for) in held:
                return self._key == min(circle)
            if holder.waits_for in circle[:-1]:
                return False
            holder = self._claims.holder(holder.waits_for)
        return False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        with self._lock:
            self._given_up = kind is not None
            if self._given_up and self._taken is not None:
                self._taken.release()
        for claim in self._noted:
            with contextlib.suppress(Unclaimable):
                claim.wait_for(None)


@contextlib.contextmanager
def held(claims: Claims, key: Digest, claim: Claim) -> Iterator[None]:
    """Have calls within know of a claim, so that they do not wait for it."""
    token = _HELD.set({**_HELD.get({}), (claims.place, key): claim})
    try:
        yield
    finally:
        _HELD.reset(token)
