"""Which results are fresh enough: `max_age=`, `stale_ok=` and `valid=`.

Nothing is written to a store for it: a record that has expired is a miss, and what is computed
takes its place.
"""

from __future__ import annotations

import contextlib
import contextvars
import enum
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fleche._foundation.log import logger_of
from fleche._foundation.pools import Pool
from fleche.call.ages import age_of
from fleche.call.outcomes import stored_result
from fleche.digest import Digest
from fleche.storage.claims import Unclaimable
from fleche.wrapper.once import held

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["Freshness", "Renewals", "Stale", "State", "renewing"]

logger = logger_of("fleche")

# What is renewed in the background may be slow; more would compete with what is waited for.
_THREADS = Pool("fleche-renewals", 4)

# The key of the call that is computed again in this context, though it is there.
_RENEWED: contextvars.ContextVar[Digest | None] = contextvars.ContextVar("_RENEWED", default=None)


class State(enum.Enum):
    """What a stored result is good for."""

    FRESH = "fresh"
    STALE = "stale"
    """It may be given once more, while it is computed again."""
    EXPIRED = "expired"


class Stale:
    """A result that is to be computed again.

    Args:
        result: as it is stored.
    """

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


class Freshness:
    """What a function was told about the age of its results.

    Args:
        max_age: how old they may be, in seconds; `None`: as old as they are.
        stale_ok: for how many seconds more they are given while they are computed again.
        valid: called with the call that is stored; says whether it is good.

    >>> from fleche.call import Call
    >>> Freshness(60, 0, None).state_of(Call("f", {}, metadata={"runtime": {"timestop": 0.0}}))
    <State.EXPIRED: 'expired'>
    """

    def __init__(
        self, max_age: float | None, stale_ok: float, valid: Callable[[LazyCall], bool] | None
    ) -> None:
        self._max_age = math.inf if max_age is None else max_age
        self._stale_ok = stale_ok
        self._valid = valid

    def state_of(self, record: Any) -> State:
        """What a stored call is good for."""
        state = State.FRESH
        if not math.isinf(self._max_age):
            age = age_of(record)
            # Zero seconds are never enough, whatever the clock resolves.
            if age >= self._max_age:
                within = age < self._max_age + self._stale_ok
                state = State.STALE if within else State.EXPIRED
        if state is not State.EXPIRED and self._valid is not None and not self._valid(record):
            return State.EXPIRED
        return state

    def why(self, record: Any) -> str:
        """Why a stored call has expired, in words."""
        age = age_of(record)
        if age < self._max_age:
            return "what is stored has expired: `valid` refuses it"
        if math.isinf(age):
            return "what is stored has expired: when it was computed is not known"
        return f"what is stored has expired: it is {age:.0f} s old, max_age is {self._max_age:g} s"

    def find(self, cache: BaseCache, key: Digest) -> tuple[State, Any] | None:
        """What a cache holds of a call, as it is stored; `None` if it has no record of it.

        What has expired comes without its result.
        """
        found: tuple[State, Any] | None = None
        for record in cache._records(key):
            # A record whose file was renamed is not that of the call.
            if record.to_lookup_key() != key:
                continue
            state = State.EXPIRED if _RENEWED.get() == key else self.state_of(record)
            if state is State.EXPIRED:
                found = found or (state, None)
                continue
            try:
                result = stored_result(record)
            except KeyError:
                continue
            if state is State.FRESH:
                return state, result
            if found is None or found[0] is State.EXPIRED:
                found = state, result
        return found


class Renewals:
    """Results that are computed again in the background.

    Args:
        name: the function's.
        run: computes a call.
    """

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self._name = name
        self._run = run
        self._going_on: set[tuple[int, Digest]] = set()

    def begin(self, cache: BaseCache, key: Digest, *given: Any) -> None:
        """Compute a call again, unless that is going on.

        Args:
            cache: where it is.
            key: its key.
            given: its arguments, as `run` takes them.
        """
        place = id(cache), key
        if place in self._going_on:
            return
        self._going_on.add(place)
        context = contextvars.copy_context()
        _THREADS.threads().submit(context.run, self._renew, place, cache, key, given)

    def _renew(
        self, place: tuple[int, Digest], cache: BaseCache, key: Digest, given: tuple[Any, ...]
    ) -> None:
        from fleche.state import cache as active

        try:
            with active(cache), renewing(cache, key) as goes_on:
                if goes_on:
                    self._run(*given)
        except Exception:
            logger.warning(
                "Computing a call of %s (%s) again failed; the old result stays",
                *(self._name, key),
                exc_info=True,
            )
        finally:
            self._going_on.discard(place)


@contextlib.contextmanager
def renewing(cache: BaseCache, key: Digest) -> Iterator[bool]:
    """Have one call computed in this context, though it is there; whether nobody else does so."""
    claims = cache._claims()
    claim = None
    with contextlib.suppress(Unclaimable):
        if claims is not None:
            claim = claims.take(key)
            if claim is None:
                yield False
                return
    with contextlib.ExitStack() as stack:
        if claims is not None and claim is not None:
            stack.callback(claim.release)
            stack.enter_context(held(claims, key, claim))
        token = _RENEWED.set(key)
        stack.callback(_RENEWED.reset, token)
        yield True
