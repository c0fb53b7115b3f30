"""What values are made of, as far as it counts in their digests: steps, and what is there."""

from __future__ import annotations

import copyreg
import enum
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from fleche import _core

#: A step from a value (`.name`, `[3]`), and what is there.
Part: TypeAlias = tuple[str, Any]

# That of the digests.
_PROTOCOL = 4
_REDUCTION = f".__reduce_ex__({_PROTOCOL})"
_MAKERS = (
    copyreg.__newobj__,  # type: ignore[attr-defined]
    copyreg.__newobj_ex__,  # type: ignore[attr-defined]
    copyreg._reconstructor,  # type: ignore[attr-defined]
)


def has_own_rule(value: Any) -> bool:
    """Whether its class or a hook says what its digest is."""
    if any(isinstance(value, hook.type) for hook in _core.get_hooks()):
        return True
    return hasattr(type(value), "__digest__")


def is_whole(value: Any) -> bool:
    """Whether a value is shown by its `repr` rather than taken apart."""
    if isinstance(value, type | enum.Enum | types.ModuleType):
        return True
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    own = package in sys.stdlib_module_names and package != "__main__"
    return own and not hasattr(value, "__dict__") and not isinstance(value, BaseException)


def fields(value: Any) -> list[str] | None:
    """The names of the fields of a dataclass or attrs instance; `None` for anything else."""
    kind = type(value)
    if isinstance(known := getattr(kind, "__dataclass_fields__", None), dict):
        from dataclasses import fields

        return [field.name for field in fields(value)] if known else []
    if isinstance(known := getattr(kind, "__attrs_attrs__", None), tuple):
        return [field.name for field in known]
    return None


def of_record(value: Any, names: Iterable[str]) -> Iterator[Part]:
    """Fields."""
    for name in names:
        try:
            yield f".{name}", getattr(value, name)
        except AttributeError:
            continue


def of_attributes(value: Any, without: Iterable[str] = ()) -> Iterator[Part]:
    """What is in the slots and the `__dict__`, without what is computed from the rest."""
    left_out, kind = set(without), type(value)
    names = copyreg._slotnames(kind) if hasattr(kind, "__slots__") else []  # type: ignore[attr-defined]
    held = getattr(value, "__dict__", None)
    for name in (*names, *(held if isinstance(held, dict) else ())):
        if name not in left_out and isinstance(name, str) and not _is_derived(kind, name):
            yield from of_record(value, (name,))


def of_function(value: types.FunctionType) -> Iterator[Part]:
    """Its defaults and what it captured; its code is compared as a whole."""
    yield ".__defaults__", value.__defaults__
    yield ".__kwdefaults__", value.__kwdefaults__
    for number, cell in enumerate(value.__closure__ or ()):
        try:
            yield f".__closure__[{number}].cell_contents", cell.cell_contents
        except ValueError:
            continue
    yield ".__code__", value.__code__


def of_partial(value: functools.partial[Any]) -> Iterator[Part]:
    """Function and arguments."""
    yield ".func", value.func
    yield ".args", value.args
    yield ".keywords", value.keywords


def of_method(value: types.MethodType) -> Iterator[Part]:
    """Function and instance."""
    yield ".__func__", value.__func__
    yield ".__self__", value.__self__


def of_reduction(value: Any) -> Iterator[Part]:
    """What `pickle` would make it of again."""
    kind = type(value)
    registered = copyreg.dispatch_table.get(kind)
    reduced = registered(value) if registered else value.__reduce_ex__(_PROTOCOL)
    if not isinstance(reduced, tuple):
        return
    callable, arguments, *rest = reduced
    if callable not in _MAKERS and callable is not kind:
        yield f"{_REDUCTION}[0]", callable
    for number, argument in enumerate(arguments):
        if argument is not kind:
            path = f".args[{number}]" if isinstance(value, BaseException) else None
            yield path or f"{_REDUCTION}[1][{number}]", argument
    if rest:
        yield from _of_state(kind, rest[0])
    for place, items in enumerate(rest[1:3], 3):
        if items is not None:
            yield f"{_REDUCTION}[{place}]", list(items)


def _of_state(kind: type, state: Any) -> Iterator[Part]:
    both = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    if not all(part is None or isinstance(part, dict) for part in both):
        yield f"{_REDUCTION}[2]", state
        return
    for attributes in both:
        for name, held in (attributes or {}).items():
            if isinstance(name, str) and not _is_derived(kind, name):
                yield f".{name}" if name.isidentifier() else f".__dict__[{name!r}]", held


def _is_derived(kind: type, name: str) -> bool:
    return isinstance(getattr(kind, name, None), functools.cached_property)
