"""The call whose lineage a report shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fleche.call.ages import runtime_of
from fleche.cli.needs import held_by
from fleche.cli.stores import pairs

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall
    from fleche.digest import Digest
    from fleche.lineage import Index

__all__ = ["affordable", "most_valuable"]

# Values of so many bytes are read together to find out which call made which; what no storage
# tells the size of counts as this much.
_BYTES, _UNKNOWN = 50_000_000, 500_000


def affordable(cache: BaseCache, calls: Iterable[LazyCall]) -> list[LazyCall]:
    """Calls whose arguments and results are read soon, the first ones first.

    Args:
        cache: the cache.
        calls: calls of it.
    """
    from fleche.storage.sizes import sizes_of

    calls = list(calls)
    held = [{*held_by(call)} for call in calls]
    sizes: dict[Digest, int] = {}
    for pair in pairs(cache):
        sizes.update(sizes_of(pair.values, set().union(*held)))
    left, found, counted = _BYTES, [], set[str]()
    for call, keys in zip(calls, held, strict=True):
        room = sum(sizes.get(key, _UNKNOWN) for key in keys - counted)
        if room <= left:
            left -= room
            counted |= keys
            found.append(call)
    return found


def most_valuable(index: Index) -> Digest | None:
    """The call that took longest together with all those below it in the lineage.

    Args:
        index: the calls.
    """
    keys = list(index.calls)
    number = {key: place for place, key in enumerate(keys)}
    below: dict[Digest, int] = {}
    for root in keys:
        # With its makers done before it; a circle is cut where it closes.
        waiting: list[tuple[Digest, Iterator[Digest]]] = []
        _begin(root, index, number, below, waiting)
        while waiting:
            key, makers = waiting[-1]
            maker = next(makers, None)
            if maker is None:
                waiting.pop()
                if waiting:
                    below[waiting[-1][0]] |= below[key]
            elif maker in below:
                below[key] |= below[maker]
            else:
                _begin(maker, index, number, below, waiting)
    seconds = [runtime_of(index.calls[key]) or 0.0 for key in keys]

    def worth(key: Digest) -> float:
        bits = below[key]
        return sum(some for place, some in enumerate(seconds) if bits >> place & 1)

    return max(keys, key=worth, default=None)


def _begin(
    key: Digest,
    index: Index,
    number: dict[Digest, int],
    below: dict[Digest, int],
    waiting: list[tuple[Digest, Iterator[Digest]]],
) -> None:
    """Note a call as one that is below itself, and that its makers are to be looked at."""
    if key in below:
        return
    below[key] = 1 << number[key]
    makers = {maker for several in index.inputs(key).values() for maker in several}
    waiting.append((key, iter(sorted(makers))))
