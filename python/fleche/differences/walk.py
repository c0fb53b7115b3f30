"""The walk down to what differs."""

from __future__ import annotations

import array
import functools
import itertools
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from fleche._foundation.log import logger_of
from fleche.differences import parts, texts
from fleche.differences.arrays import differing_elements
from fleche.differences.libraries import Elements, family, is_of_library, parts_of
from fleche.differences.parts import Part
from fleche.digest import Digest, Indigestible, digest

logger = logger_of("fleche.differences")

# Deeper than anybody reads.
_DEEPEST = 50
# Up to this length elements are compared one by one.
_FEW = 8


class _Missing:
    """In the place of a value that only the other side has."""

    def __repr__(self) -> str:
        return "not there"


MISSING: Any = _Missing()
UNSEEN = "differs in a way that is not seen here"


@dataclass(frozen=True)
class Difference:
    """One place where two values differ.

    Args:
        path: from the value to it, as Python would write it.
        stored: what is there in the one; `MISSING` if nothing is.
        given: what is there in the other.
        note: what does not show by itself.
    """

    path: str
    stored: Any
    given: Any
    note: str = ""

    def __str__(self) -> str:
        stored, given = texts.pair(self.stored, self.given)
        if self.note == UNSEEN:
            return f"{self.path}: {given} {self.note}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.path}: was {stored}, is {given}{note}"


def differences(
    stored: Any, given: Any, *, typed: bool = False, root: str = "value", most: int = 5
) -> list[Difference]:
    """Where two values differ; empty if they have one digest.

    Args:
        stored: the one.
        given: the other.
        typed: whether numbers, dicts and subclasses count by their types, as in typed digests.
        root: what the value is called in the paths.
        most: how many differences to look for.

    >>> print(*differences([1, 2.0], [1, 2.0000000000000004]))
    value[1]: was 2.0, is 2.0000000000000004 (1 ulp)
    >>> differences([1, 2.0], [1.0, 2])
    []
    """
    walk = _Walk(typed)
    if walk.same(stored, given):
        return []
    return list(itertools.islice(walk.down(root, stored, given), most))


class _Walk:
    def __init__(self, typed: bool) -> None:
        self.typed = typed
        self.within: list[tuple[int, int]] = []

    def digest(self, value: Any) -> Digest | None:
        try:
            return digest(value, typed=self.typed)
        except Indigestible:
            return None

    def same(self, stored: Any, given: Any) -> bool:
        """Whether two values have one digest. What has none does not count."""
        return stored is given or self.digest(stored) == self.digest(given)

    def down(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        """The differences within two values that are known to differ; the values, if none is."""
        place = id(stored), id(given)
        found = False
        if place not in self.within and len(self.within) < _DEEPEST:
            self.within.append(place)
            try:
                for difference in self.inside(path, stored, given):
                    found = True
                    yield difference
            except Exception as error:
                # A class that cannot be looked into: it is shown as a whole.
                logger.debug("Cannot look into %s: %r", path, error)
            finally:
                self.within.pop()
        if not found:
            yield Difference(path, stored, given, self.note(stored, given))

    def note(self, stored: Any, given: Any) -> str:
        if note := texts.note(stored, given):
            return note
        if type(stored) is type(given) and parts.has_own_rule(given):
            return self.own_rule_note(stored, given)
        same_text = texts.pair(stored, given)
        return UNSEEN if same_text[0] == same_text[1] else ""

    def own_rule_note(self, stored: Any, given: Any) -> str:
        """What differs besides: whether it counts, only the class knows."""
        mine = dict(parts.of_attributes(stored))
        its = dict(parts.of_attributes(given))
        unlike = [step for step in mine if step in its and not self.same(mine[step], its[step])]
        besides = f"; {', '.join(unlike[:3])} differ" if unlike else ""
        return f"by the digest that its class or a hook gives{besides}"

    def inside(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        if family(stored) != family(given) or parts.has_own_rule(given):
            return
        content = self.content(path, stored, given)
        if content is None:
            if not parts.is_whole(given) and not is_of_library(type(given)):
                mine = parts.of_reduction(stored)
                yield from self.parted(path, mine, parts.of_reduction(given))
            return
        found = False
        for difference in content:
            found = True
            yield difference
        if not found:
            yield from self.attributes(path, stored, given)

    def attributes(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        """What instances of subclasses hold besides."""
        mine, its = (dict(parts.of_attributes(each)) for each in (stored, given))
        if parts.fields(given) is not None and not self.typed:
            # Where equality decides, what a record keeps to itself does not count.
            mine, its = ({k: v for k, v in e.items() if k[1:2] != "_"} for e in (mine, its))
        yield from self.parted(path, mine.items(), its.items())

    def content(self, path: str, stored: Any, given: Any) -> Iterator[Difference] | None:
        """By kind; `None` for objects that count by their reduction."""
        if isinstance(given, types.FunctionType):
            return self.parted(path, parts.of_function(stored), parts.of_function(given))
        if isinstance(given, types.MethodType):
            return self.parted(path, parts.of_method(stored), parts.of_method(given))
        if isinstance(given, types.BuiltinMethodType):
            mine = parts.of_record(stored, ("__name__", "__self__"))
            return self.parted(path, mine, parts.of_record(given, ("__name__", "__self__")))
        if isinstance(given, functools.partial):
            return self.parted(path, parts.of_partial(stored), parts.of_partial(given))
        if (numpy := sys.modules.get("numpy")) is not None and isinstance(given, numpy.ndarray):
            return self.array(path, stored, given)
        if (known := parts_of(given)) is not None:
            return self.parted(path, parts_of(stored) or (), known)
        if (names := parts.fields(given)) is not None:
            mine = parts.of_record(stored, names)
            return itertools.chain(
                self.parted(path, mine, parts.of_record(given, names)),
                self.container(path, stored, given) or (),
            )
        if isinstance(given, types.SimpleNamespace):
            return self.attributes(path, stored, given)
        return self.container(path, stored, given)

    def container(self, path: str, stored: Any, given: Any) -> Iterator[Difference] | None:
        if isinstance(given, Mapping):
            return self.mapping(path, stored, given)
        if isinstance(given, Set):
            return self.members(path, stored, given)
        if isinstance(given, tuple) and (names := getattr(type(given), "_fields", None)):
            mine = parts.of_record(stored, names)
            return self.parted(path, mine, parts.of_record(given, names))
        if isinstance(given, int | float | complex | str | bytes | bytearray | memoryview | range):
            return iter(())
        if isinstance(given, Sequence | deque | array.array):
            names = ("maxlen", "typecode")
            mine = parts.of_record(stored, names)
            return itertools.chain(
                self.parted(path, mine, parts.of_record(given, names)),
                self.elements(path, list(stored), list(given), "[{}]"),
            )
        return None

    def parted(
        self, path: str, stored: Iterable[Part], given: Iterable[Part]
    ) -> Iterator[Difference]:
        """Part by part."""
        mine, its = dict(stored), dict(given)
        for step in dict.fromkeys((*mine, *its)):
            one, other = mine.get(step, MISSING), its.get(step, MISSING)
            if isinstance(one, Elements) and isinstance(other, Elements):
                if not self.same(one.held, other.held):
                    yield from self.column(path + step, one, other)
            elif one is MISSING or other is MISSING:
                one, other = _held(one), _held(other)
                # What has no digest does not count, be it there or not.
                if None not in (self.digest(one), self.digest(other)):
                    yield Difference(path + step, one, other)
            elif not self.same(one, other):
                yield from self.down(path + step, one, other)

    def column(self, path: str, stored: Elements, given: Elements) -> Iterator[Difference]:
        mine = parts.of_record(stored.held, (given.kind,))
        yield from self.parted(path, mine, parts.of_record(given.held, (given.kind,)))
        listed = stored.listed(stored.held), given.listed(given.held)
        yield from self.elements(path, *listed, given.step)

    def mapping(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        # However Python compares them: `nan` is not equal to itself, and `True` is equal to 1.
        mine, its = ({self.digest(key): key for key in each} for each in (stored, given))
        for known in dict.fromkeys((*mine, *its)):
            if known not in its:
                key = mine[known]
                yield Difference(f"{path}[{texts.short(key)}]", stored[key], MISSING)
            elif known not in mine:
                key = its[known]
                yield Difference(f"{path}[{texts.short(key)}]", MISSING, given[key])
            else:
                one, other = stored[mine[known]], given[its[known]]
                if not self.same(one, other):
                    yield from self.down(f"{path}[{texts.short(its[known])}]", one, other)
        is_ordered = self.typed or isinstance(given, OrderedDict)
        if is_ordered and set(mine) == set(its) and list(mine) != list(its):
            yield Difference(f"list({path})", list(stored), list(given), "the order of the keys")
        if hasattr(type(given), "default_factory"):
            factory = parts.of_record(stored, ("default_factory",))
            yield from self.parted(path, factory, parts.of_record(given, ("default_factory",)))

    def members(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        mine, its = ({self.digest(member): member for member in each} for each in (stored, given))
        for known, member in mine.items():
            if known not in its:
                yield Difference(f"{texts.short(member)} in {path}", True, False)
        for known, member in its.items():
            if known not in mine:
                yield Difference(f"{texts.short(member)} in {path}", False, True)

    def elements(self, path: str, stored: Any, given: Any, step: str) -> Iterator[Difference]:
        """Elements in their order."""
        if isinstance(stored, list) != isinstance(given, list):
            stored, given = list(stored), list(given)
        lengths = len(stored), len(given)
        if lengths[0] != lengths[1]:
            yield Difference(f"len({path})", *lengths)
        common = min(lengths)
        if isinstance(stored, list):
            for place in self.places(stored, given, 0, common):
                yield from self.down(path + step.format(place), stored[place], given[place])
        elif stored.dtype != given.dtype:
            yield from self.elements(path, list(stored), list(given), step)
            return
        else:
            yield from self.numbers(path, stored[:common], given[:common], step)
        for place in range(common, lengths[0]):
            yield Difference(path + step.format(place), stored[place], MISSING)
        for place in range(common, lengths[1]):
            yield Difference(path + step.format(place), MISSING, given[place])

    def places(self, stored: Any, given: Any, begin: int, end: int) -> Iterator[int]:
        """Where two lists differ, found by halves."""
        if end - begin <= _FEW:
            yield from (n for n in range(begin, end) if not self.same(stored[n], given[n]))
            return
        middle = (begin + end) // 2
        for one, other in ((begin, middle), (middle, end)):
            if not self.same(stored[one:other], given[one:other]):
                yield from self.places(stored, given, one, other)

    def array(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        import numpy as np

        if isinstance(given, np.ma.MaskedArray):
            yield from self.masked(path, stored, given)
            return
        for step in (".dtype", ".shape"):
            one, other = getattr(stored, step[1:]), getattr(given, step[1:])
            if not self.same(one, other):
                yield Difference(path + step, one, other)
        if stored.shape != given.shape or stored.dtype != given.dtype:
            return
        if given.dtype.names is not None:
            for name in given.dtype.names:
                if not self.same(stored[name], given[name]):
                    yield from self.down(f"{path}[{name!r}]", stored[name], given[name])
        elif given.dtype.hasobject or given.dtype.kind == "T":
            one, other = list(stored.flat), list(given.flat)
            for number in self.places(one, other, 0, given.size):
                step = _index(tuple(map(int, np.unravel_index(number, given.shape))))
                yield from self.down(path + step, one[number], other[number])
        else:
            yield from self.numbers(path, stored.view(np.ndarray), given.view(np.ndarray))

    def numbers(self, path: str, stored: Any, given: Any, step: str = "") -> Iterator[Difference]:
        """Elements of two arrays of one dtype and shape."""
        places, count = differing_elements(stored, given, most=_FEW)
        for place in places:
            one, other = stored[place], given[place]
            note = texts.note(one, other)
            if count > 1 and place == places[0]:
                of = f"the first of {count} that differ, of {given.size}"
                note = f"{note}; {of}" if note else of
            shown = step.format(place[0]) if step else _index(place)
            yield Difference(path + shown, one, other, note)

    def masked(self, path: str, stored: Any, given: Any) -> Iterator[Difference]:
        import numpy as np

        def of(value: Any) -> Iterator[Part]:
            yield ".mask", np.ma.getmaskarray(value)
            yield ".dtype", value.dtype
            yield ".hardmask", value.hardmask
            yield ".fill_value", np.ma.copy(value).fill_value
            if value.dtype.names is None:
                yield ".data", np.where(value.mask, np.zeros((), value.dtype), value.data)

        yield from self.parted(path, of(stored), of(given))


def _held(part: Any) -> Any:
    return part.held if isinstance(part, Elements) else part


def _index(place: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, place))}]" if place else "[()]"
