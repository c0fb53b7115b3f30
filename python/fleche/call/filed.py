"""Parameters whose annotations say that they are files: what makes files of their arguments."""

from __future__ import annotations

import builtins
import collections.abc
import functools
import importlib
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

if TYPE_CHECKING:
    import inspect

__all__ = ["Wrap", "files_of", "may_name_file", "resolved", "take_files"]

Wrap: TypeAlias = Callable[[Any], Any]

_WORD = re.compile(r"\bFile\b")
_OF_ELEMENTS: tuple[Any, ...] = (
    *(list, set, frozenset),
    *(collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection),
    *(collections.abc.MutableSequence, collections.abc.Set),
)
_OF_ITEMS: tuple[Any, ...] = (
    dict,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
)


def may_name_file(annotation: str) -> bool:
    """Whether an annotation that is text may say that a parameter is a file.

    >>> may_name_file("list[File] | None"), may_name_file("io.FileIO")
    (True, False)
    """
    return _WORD.search(annotation) is not None


def resolved(annotation: str, names: Mapping[str, Any]) -> Any:
    """What an annotation that is text says.

    Args:
        annotation: the text.
        names: what is known where it stands; of names that type checkers alone know, those of
            containers are known, too.

    >>> resolved("Sequence[File] | None", {})
    collections.abc.Sequence[fleche.File] | None
    """
    return eval(annotation, {}, _Names(names))


def files_of(
    function: str,
    annotations: Mapping[str, Any],
    signature: inspect.Signature,
    names: Mapping[str, Any],
) -> dict[str, Wrap]:
    """What makes files of the arguments of each parameter that takes some.

    Args:
        function: the function's name, for errors.
        annotations: by parameter, those that are text resolved.
        signature: the function's.
        names: what texts within annotations may name.

    Raises:
        TypeError: if a default is a path, no file.
    """
    # Nobody has the class in an annotation before its module was imported.
    if "fleche.files" not in sys.modules and not any(map(_names_file, annotations.values())):
        return {}
    found = {}
    for name, annotation in annotations.items():
        wrap = _wrap_of(annotation, names)
        if wrap is None:
            continue
        found[name] = wrap
        default = signature.parameters[name].default
        if wrap(default) is not default:
            raise TypeError(
                f"the parameter {name!r} of {function} takes files, and its default is the path "
                f"{default!r}: write File(...) there, so that the content counts, too"
            )
    return found


def take_files(
    files: Mapping[str, Wrap], signature: inspect.Signature, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments by parameter, with files where files are wanted."""
    taken = dict(arguments)
    for name, value in arguments.items():
        wrap = files.get(name, _as_it_is_now)
        kind = signature.parameters[name].kind
        if kind is kind.VAR_POSITIONAL:
            taken[name] = tuple(map(wrap, value)) if isinstance(value, tuple) else value
        elif kind is kind.VAR_KEYWORD:
            items = value.items() if isinstance(value, dict) else ()
            taken[name] = {key: wrap(each) for key, each in items} if items else value
        else:
            taken[name] = wrap(value)
    return taken


def _as_it_is_now(value: Any) -> Any:
    """A file as it is, whatever was recorded of it; anything else is left alone."""
    files = sys.modules.get("fleche.files")
    return value._now() if files is not None and type(value) is files.File else value


def _names_file(annotation: Any) -> bool:
    """Whether there is text in an annotation that may name the class."""
    text = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(text, str):
        return may_name_file(text)
    return any(map(_names_file, typing.get_args(annotation)))


def _wrap_of(annotation: Any, names: Mapping[str, Any]) -> Wrap | None:
    """What makes files of values that are annotated so; `None` if there are none among them."""
    from fleche.files import File, as_file

    def inner(*annotations: Any) -> Wrap | None:
        wraps = [wrap for each in annotations if (wrap := _wrap_of(each, names)) is not None]
        return _one_after_another(wraps) if wraps else None

    if annotation is File:
        return as_file
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        if not may_name_file(annotation):
            return None
        try:
            return inner(resolved(annotation, names))
        except Exception:
            # It may say anything else.
            return None
    if type(annotation).__name__ == "TypeAliasType":
        # It may name itself.
        made = functools.cache(lambda: inner(annotation.__value__))
        return lambda value: value if (wrap := made()) is None else wrap(value)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        # Text among the rest says something else.
        return as_file if any(part is File for part in parts[1:]) else inner(parts[0])
    if origin in (Union, types.UnionType):
        return _unless_bytes(inner(*parts)) if bytes in parts else inner(*parts)
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return _of_elements(inner(parts[0]))
    if origin is tuple:
        return _of_places([inner(part) for part in parts])
    if origin in _OF_ELEMENTS:
        return _of_elements(inner(*parts))
    if origin in _OF_ITEMS:
        return _of_values(inner(parts[1]))
    return None


class _Names(dict[str, Any]):
    """What annotations may name; what is not there is there for type checkers alone."""

    def __missing__(self, name: str) -> Any:
        for module in (builtins, collections.abc, typing):
            if hasattr(module, name):
                return getattr(module, name)
        if name in ("File", "fleche"):
            package = importlib.import_module("fleche")
            return package.File if name == "File" else package
        return type(name, (), {"__class_getitem__": classmethod(types.GenericAlias)})


def _one_after_another(wraps: list[Wrap]) -> Wrap:
    if len(wraps) == 1:
        return wraps[0]

    def all_of_them(value: Any) -> Any:
        for wrap in wraps:
            value = wrap(value)
        return value

    return all_of_them


def _unless_bytes(wrap: Wrap | None) -> Wrap | None:
    """Bytes are no path where they are expected besides files."""
    return wrap and (lambda value: value if type(value) is bytes else wrap(value))


def _of_elements(wrap: Wrap | None) -> Wrap | None:
    def of_elements(value: Any) -> Any:
        if type(value) not in (list, tuple, set, frozenset) or wrap is None:
            return value
        return _kept(value, list(value), [wrap(each) for each in value], type(value))

    return wrap and of_elements


def _of_places(wraps: list[Wrap | None]) -> Wrap | None:
    def of_places(value: Any) -> Any:
        if type(value) is not tuple or len(value) != len(wraps):
            return value
        taken = [wrap(each) if wrap else each for wrap, each in zip(wraps, value, strict=True)]
        return _kept(value, list(value), taken, tuple)

    return of_places if any(wraps) else None


def _of_values(wrap: Wrap | None) -> Wrap | None:
    def of_values(value: Any) -> Any:
        if type(value) is not dict or wrap is None:
            return value
        taken = {key: wrap(each) for key, each in value.items()}
        return _kept(value, list(value.values()), list(taken.values()), lambda _: taken)

    return wrap and of_values


def _kept(value: Any, before: list[Any], after: list[Any], make: Callable[[Any], Any]) -> Any:
    """A container of what there is now; itself where nothing changed."""
    same = all(one is two for one, two in zip(before, after, strict=True))
    return value if same else make(after)
