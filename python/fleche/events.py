"""What happens to cached calls, told to those who subscribe: for Prometheus, OpenTelemetry, logs.

Callbacks run in the thread of the call, before it returns. What they raise is logged once each, and
disturbs no call. Cached functions that a callback calls itself are cached as ever, but give no
events. Nobody subscribed: a call takes no longer.

It may import `_foundation` only. A new event is a class here.

>>> from fleche import cache, events, fleche
>>> @fleche
... def half(x):
...     return x / 2
>>> with cache("memory"), events.subscribe(lambda event: print(type(event).__name__)):
...     _ = half(5), half(5)
Miss
Computed
Saved
Hit
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from fleche import _core
from fleche._foundation.log import logger_of

__all__ = [
    "Computed",
    "Event",
    "Evicted",
    "Failed",
    "Hit",
    "Miss",
    "Saved",
    "Subscription",
    "Uncached",
    "subscribe",
]

logger = logger_of("fleche.events")


@dataclass(frozen=True)
class Event:
    """Something that happened to a call.

    Args:
        function: the function's qualified name; of an evicted call nobody looks it up: it is empty.
        module: the function's module; `None` where it does not count in keys.
        key: the call's key; `None` if it has none.
    """

    function: str
    module: str | None
    key: str | None


@dataclass(frozen=True)
class Hit(Event):
    """The result was in the cache.

    Args:
        seconds: how long the look-up took, with the digests of the arguments.
    """

    seconds: float


@dataclass(frozen=True)
class Miss(Event):
    """The result was not in the cache, or could not be read: the call is computed."""


@dataclass(frozen=True)
class Computed(Event):
    """The function returned.

    Args:
        seconds: how long it ran.
    """

    seconds: float


@dataclass(frozen=True)
class Failed(Event):
    """The function raised.

    Args:
        seconds: how long it ran.
        error: what it raised.
    """

    seconds: float
    error: BaseException


@dataclass(frozen=True)
class Saved(Event):
    """The result was stored.

    Args:
        bytes: how many were written, with those of the arguments; 0 for a cache in memory.
    """

    bytes: int


@dataclass(frozen=True)
class Uncached(Event):
    """The call ran without the cache, or what it returned was not stored.

    Args:
        reason: why, as in `fleche.stats().uncached`.
    """

    reason: str


@dataclass(frozen=True)
class Evicted(Event):
    """The call was removed from a cache."""


Callback: TypeAlias = Callable[[Event], object]


class Subscription:
    """A subscription, until it is called, or left as a context."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._has_failed = False

    def __call__(self) -> None:
        """End the subscription; once is enough."""
        _change(lambda others: tuple(each for each in others if each is not self))

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self()

    def _tell(self, event: Event) -> None:
        try:
            self._callback(event)
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                logger.warning(
                    "The subscriber %r failed at %r; its further errors are not shown",
                    *(self._callback, event),
                    exc_info=True,
                )


_subscriptions: tuple[Subscription, ...] = ()

# Set in a thread while its callbacks run.
_telling = threading.local()


def subscribe(callback: Callback) -> Subscription:
    """Have `callback` called with each event of this process from now on.

    Args:
        callback: takes an `Event`; which one, its class says.

    Returns:
        The subscription: call it to end it, or use it in a `with` statement.

    Raises:
        TypeError: if `callback` cannot be called.

    >>> from fleche import events
    >>> end = events.subscribe(print)
    >>> end()
    """
    if not callable(callback):
        kind = type(callback).__name__
        raise TypeError(f"subscribe() takes a function of an event, not a {kind}")
    subscription = Subscription(callback)
    _change(lambda others: (*others, subscription))
    return subscription


def _change(
    change: Callable[[tuple[Subscription, ...]], tuple[Subscription, ...]],
) -> None:
    global _subscriptions
    # Again if another thread changed them meanwhile; no lock, which a fork could leave taken.
    while True:
        before = _subscriptions
        after = change(before)
        if _subscriptions is before:
            _subscriptions = after
            break
    _core.set_listening(bool(_subscriptions))


def tell(event: Event) -> None:
    """Call the subscribers with an event."""
    if getattr(_telling, "is_on", False):
        return
    _telling.is_on = True
    try:
        for subscription in _subscriptions:
            subscription._tell(event)
    finally:
        _telling.is_on = False


def tell_hit(function: str, module: str | None, key: Any, seconds: float) -> None:
    """As `tell`, called by the core."""
    tell(Hit(function, module, key, seconds))
