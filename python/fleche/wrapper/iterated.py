"""Calls whose results are iterated over: `@fleche(iterate=True)`.

The items are copied while they pass, and saved once the last one has: what is given up half-way, or
fails, leaves nothing. A hit gives a new iterator over the saved items.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from fleche import _core
from fleche.call.outcomes import Items
from fleche.wrapper.missed import Missed
from fleche.wrapper.misses import Arguments, Computation, Misses
from fleche.wrapper.once import Once, held

__all__ = ["IteratedCalls"]


class IteratedCalls:
    """The calls of a function that gives iterators, asynchronous ones, too.

    Args:
        misses: what its misses take.
        once: has one of several compute.
    """

    def __init__(self, misses: Misses, once: Once) -> None:
        self.misses = misses
        self.once = once

    def call(
        self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
    ) -> Iterator[Any]:
        """An iterator over the items of a call, cached or computed.

        Args:
            run: the look-up, `_core.CachedFunction.run`.
            args: the call's positional arguments.
            kwargs: its keyword arguments.
        """
        found = run(args, kwargs)
        if type(found) is not Missed:
            return self._replayed(found)
        if found.found is None:
            return self.uncached(found, args, kwargs)  # type: ignore[no-any-return]
        cache, key = found.found[:2]
        claims = self.once.claims_of(cache, key)
        claim = None if claims is None else self.once.wait_for_claim(claims, cache, key)
        if claims is None or claim is None:
            return self._recorded(found.found, lambda: None)
        try:
            with held(claims, key, claim):
                again = run(args, kwargs)
        except BaseException:
            claim.release()
            raise
        if type(again) is Missed and again.found is not None:
            return self._recorded(again.found, claim.release)
        claim.release()
        return self._replayed(again)

    def _replayed(self, found: Any) -> Iterator[Any]:
        # Else the arguments did not fit the signature, but the function takes them.
        return found.replay() if type(found) is Items else found

    def uncached(self, found: Missed, args: tuple[Any, ...], kwargs: Arguments) -> Any:
        """What the function gives for a call that is not cached, which is said."""
        if found.reason is not None:
            self.misses.tell_uncached(found.reason)
        return self.misses.function(*args, **kwargs)

    def _recorded(self, found: tuple[Any, ...], end: Callable[[], object]) -> Iterator[Any]:
        cache, key, arguments, digests, args, kwargs, error, *more = found
        try:
            self.misses.say_missed(cache, key, error)
            computation = self.misses.begin(cache, key, arguments, digests, error, *more)
            iterator = iter(self.misses.function(*args, **kwargs))
        except BaseException:
            end()
            raise
        return passing(iterator, Recording(computation), end)


class Recording:
    """The items of a call, as long as they are worth keeping.

    Args:
        computation: the call; `None` if it is not to be cached.
    """

    def __init__(self, computation: Computation | None) -> None:
        self._computation = computation
        self._items: list[Any] = []

    def add(self, item: Any) -> None:
        """Keep a copy of an item: whoever gets it may change it."""
        if self._computation is None:
            return
        try:
            self._items.append(_core.independent_copy(item))
        except Exception as error:
            computation = self._computation
            self.give_up()
            computation.misses.say_unsaved(computation.key, error, computation.cache)

    def give_up(self) -> None:
        """Nothing of the call will be cached."""
        if self._computation is not None:
            self._computation.abandon()
            self._computation = None
            self._items.clear()

    def finish(self, returned: Any = None) -> None:
        """Save the items: the last one has passed."""
        if self._computation is not None:
            computation, self._computation = self._computation, None
            computation.finish(Items(self._items, returned))


def passing(
    iterator: Iterator[Any], recording: Recording, end: Callable[[], object]
) -> Generator[Any, Any, Any]:
    """The items of an iterator, recorded while they pass.

    What is sent or thrown in passes on to the iterator; what follows depends on it, and is not
    recorded.

    Args:
        iterator: where they come from.
        recording: what keeps them.
        end: called when this is over, however it ends.
    """
    source: Any = iterator
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            try:
                if thrown is not None:
                    item = source.throw(thrown)
                elif sent is not None:
                    item = source.send(sent)
                else:
                    item = next(source)
            except StopIteration as stop:
                recording.finish(stop.value)
                return stop.value
            recording.add(item)
            sent = thrown = None
            try:
                sent = yield item
            except GeneratorExit:
                getattr(source, "close", bool)()
                raise
            except BaseException as error:
                if not hasattr(source, "throw"):
                    raise
                thrown = error
            if sent is not None or thrown is not None:
                recording.give_up()
    finally:
        recording.give_up()
        end()
