"""Objects of a script's own classes come back as objects of the live classes.

`cloudpickle` and `dill` take a class of `__main__` along by value: the script's next run would get
objects of a look-alike, which are not equal to its own, and of which `isinstance` says no. Here
such a class is replaced by the class of that name in the running program, if both are made of the
same body. The bytes stay as these packages write them.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

from fleche import _core

# What makes a class in the streams of `cloudpickle` and of `dill`.
_MAKERS = b"_make_skeleton_class", b"_make_skeleton_enum", b"_create_type"
_MAKER_NAMES = frozenset(name.decode() for name in _MAKERS)


def with_live_classes(
    loads: Callable[..., Any], unpickler: Callable[[], type[Any]]
) -> Callable[..., Any]:
    """`loads`, with classes that travelled by value replaced by those of the running program.

    Args:
        loads: the serialiser's own, for bytes without such classes.
        unpickler: gives the serialiser's unpickler, to be subclassed.
    """

    @functools.cache
    def reading() -> type[Any]:
        return _reading(unpickler())

    @functools.wraps(loads)
    def load(data: bytes, buffers: Iterable[Any] = ()) -> Any:
        if not any(maker in data for maker in _MAKERS):
            return loads(data, buffers=buffers)
        reader = reading()(io.BytesIO(data), buffers, {})
        value = reader.load()
        live = reader.live()
        if not live:
            return value
        # Once more, now that it is known which classes are there already.
        return reading()(io.BytesIO(data), buffers, live).load()

    return load


def _reading(base: type[Any]) -> type[Any]:
    class Reading(base):  # type: ignore[misc]
        """Notes the classes that a stream makes, and puts others in their places.

        Args:
            file: the stream.
            buffers: those that lie apart from it, in order.
            live: what to take in place of the class of this number.
        """

        def __init__(self, file: Any, buffers: Iterable[Any], live: dict[int, type]) -> None:
            super().__init__(file, buffers=buffers)
            self._live = live
            self._made: list[type] = []

        def find_class(self, module: str, name: str) -> Any:
            found = super().find_class(module, name)
            if name in _MAKER_NAMES:
                return functools.partial(self._make, found)
            if name == "_class_setstate":
                return functools.partial(self._set_state, found)
            return found

        def _make(self, maker: Callable[..., type], *args: Any) -> type:
            number = len(self._made)
            made = self._live.get(number) or maker(*args)
            self._made.append(made)
            return made

        def _set_state(self, setter: Callable[..., Any], made: type, state: Any) -> Any:
            # A class that is there already stays what it is.
            return made if _named(made) is made else setter(made, state)

        def live(self) -> dict[int, type]:
            """The live class, if there is one, for each class that was made, by number."""
            found = {number: _live_of(made) for number, made in enumerate(self._made)}
            return {number: live for number, live in found.items() if live is not None}

    return Reading


def _named(made: type, name: str | None = None) -> Any:
    """What a class's name leads to in the running program."""
    found: Any = sys.modules.get(made.__module__)
    for part in (name or made.__qualname__).split("."):
        found = getattr(found, part, None)
    return found


def _live_of(made: type) -> type | None:
    names = [made.__qualname__]
    # `cloudpickle` forgets the class that a class stands in; its methods do not.
    for attribute in vars(made).values():
        qualified = getattr(attribute, "__qualname__", "")
        if "." in qualified and "<" not in qualified:
            names.append(qualified.rpartition(".")[0])
    for name in names:
        live = _named(made, name)
        if live is made:
            return None
        if isinstance(live, type) and _core.same_definition(made, live):
            return live
    return None


def cloudpickle_unpickler() -> type[Any]:
    """The unpickler that `cloudpickle.loads` uses."""
    return pickle.Unpickler


def dill_unpickler() -> type[Any]:
    """The unpickler that `dill.loads` uses."""
    import dill

    unpickler: type[Any] = dill.Unpickler
    return unpickler
