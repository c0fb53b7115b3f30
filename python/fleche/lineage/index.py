"""The calls of a cache, by what they made and by what they took."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche import _core
from fleche.call import LazyCall
from fleche.digest import Digest
from fleche.lineage.contents import Content, content_of
from fleche.lineage.remembered import keep, recall

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["Index", "cache_of"]

logger = logging.getLogger("fleche.lineage")

Progress: TypeAlias = Callable[[Iterable[LazyCall], str], Iterable[LazyCall]]

# What values are told by, by scheme and key: a key stands for one content, so that each value is
# read once by a process.
_remembered: dict[tuple[str, Digest], Content] = {}
_MOST_REMEMBERED = 100_000

# What took so many seconds to find out is kept for other processes.
_WORTH_KEEPING = 1.0


@contextmanager
def _recalling(named: Iterable[Any]) -> Iterator[None]:
    """What values are told by is recalled before they are read, and kept afterwards."""
    scheme = _core.scheme()
    keys = {key for key in named if isinstance(key, Digest) and (scheme, key) not in _remembered}
    for key, content in recall(scheme, keys).items():
        _remembered[scheme, key] = content
        keys.discard(key)
    begun = time.monotonic()
    try:
        yield
    finally:
        # Of a pass that was interrupted, too: the next one goes on where it was.
        if keys and time.monotonic() - begun >= _WORTH_KEEPING:
            read = {key: _remembered.get((scheme, key)) for key in keys}
            keep(scheme, {key: content for key, content in read.items() if content is not None})


def _without_progress(calls: Iterable[LazyCall], what: str) -> Iterable[LazyCall]:
    return calls


def cache_of(call: LazyCall) -> Any:
    """The cache that was asked for a call: a member of a stack knows its own calls alone."""
    return call._cache if call._asked is None else call._asked


class Index:
    """The calls of a cache, by what they made and by what they took.

    The first question reads every result of the cache, the first one about outputs every argument:
    records name results by their bytes and arguments by their content.

    Args:
        cache: the cache, as it is now.
        progress: called with the calls that are about to be read, and what is done; iterates over
            them.
        calls: those of its calls that count; all of them if not given.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def load(name):
    ...     return [name] * 3
    >>> @fleche
    ... def total(rows):
    ...     return len(rows)
    >>> with cache("memory"):
    ...     rows = total(load("measurements.csv"))
    ...     index = Index(cache())
    >>> [key] = [key for key, call in index.calls.items() if call.name == "total"]
    >>> [(name, index.calls[maker].name) for name, [maker] in index.inputs(key).items()]
    [('rows', 'load')]
    """

    def __init__(
        self,
        cache: BaseCache,
        progress: Progress = _without_progress,
        calls: Iterable[LazyCall] | None = None,
    ) -> None:
        self._progress = progress
        calls = cache.query() if calls is None else calls
        self.calls: dict[Digest, LazyCall] = {call.to_lookup_key(): call for call in calls}
        self._unread: set[Digest] = set()

    @property
    def unread(self) -> int:
        """How many values could not be read, or are not stored."""
        return len(self._unread)

    def inputs(self, key: Digest) -> dict[str, list[Digest]]:
        """By argument, the calls whose result it is, or contains, or is a part of.

        What is made as a whole is not taken apart.

        Args:
            key: the call's.

        Raises:
            KeyError: if the cache held no such call.
        """
        found = {}
        for name, content in self._arguments(key).items():
            makers = sorted(set(self._makers_of(content, key)))
            if makers:
                found[name] = makers
        return found

    def outputs(self, key: Digest) -> dict[Digest, list[str]]:
        """The calls that took the call's result, or a part of it, and in which arguments.

        Args:
            key: the call's.

        Raises:
            KeyError: if the cache held no such call.
        """
        takers = {taker for digest in self._made(key) for taker in self._takers[digest]}
        found = {}
        for taker in sorted(takers - {key}):
            names = [name for name, makers in self.inputs(taker).items() if key in makers]
            if names:
                found[taker] = names
        return found

    def _makers_of(self, content: Content, taker: Digest) -> Iterator[Digest]:
        waiting = [content]
        while waiting:
            content = waiting.pop()
            makers: list[Digest] = []
            if content.digest is not None:
                makers = [
                    maker
                    for maker in self._candidates.get(content.digest, ())
                    if maker != taker and content.digest in self._made(maker)
                ]
            if makers:
                yield from makers
            else:
                waiting.extend(content.parts)

    @cached_property
    def _candidates(self) -> dict[Digest, set[Digest]]:
        """The calls whose results have a content."""
        found: dict[Digest, set[Digest]] = defaultdict(set)
        with _recalling(call._result for call in self.calls.values()):
            for call in self._progress(self.calls.values(), "Reading results"):
                key = call.to_lookup_key()
                for digest in self._result(key).digests():
                    found[digest].add(key)
        return found

    @cached_property
    def _takers(self) -> dict[Digest, set[Digest]]:
        """The calls whose arguments have a content."""
        found: dict[Digest, set[Digest]] = defaultdict(set)
        with _recalling(
            named for call in self.calls.values() for named in call._arguments.values()
        ):
            for call in self._progress(self.calls.values(), "Reading arguments"):
                key = call.to_lookup_key()
                for digest in self._given(key):
                    found[digest].add(key)
        return found

    def _made(self, key: Digest) -> set[Digest]:
        """What a call made: what is in its result and was in no argument."""
        made = set(self._result(key).digests())
        return made - self._given(key) if made else made

    def _given(self, key: Digest) -> set[Digest]:
        arguments = self._arguments(key).values()
        return {digest for content in arguments for digest in content.digests()}

    def _result(self, key: Digest) -> Content:
        call = self.calls[key]
        return self._content(call._result, lambda: call.result)

    def _arguments(self, key: Digest) -> dict[str, Content]:
        call = self.calls[key]
        found = {}
        for name, named in call._arguments.items():
            found[name] = self._content(named, lambda name=name: call.arguments[name])  # type: ignore[misc]
        return found

    def _content(self, named: Any, load: Callable[[], Any]) -> Content:
        if not isinstance(named, Digest):
            return content_of(named)
        if named in self._unread:
            return Content(named)
        known = _core.scheme(), named
        content = _remembered.get(known)
        if content is None:
            try:
                value = load()
            except Exception as error:
                # Classes that are gone, damaged entries: what is read tells the rest.
                logger.info("Cannot read %s for lineage: %r", named, error)
                value = named
            if isinstance(value, Digest):
                self._unread.add(named)
                return Content(named)
            content = content_of(value)
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[known] = content
        return content
