"""Digests by rules of users' own: hooks, and those that installed packages bring."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.digest import T

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fleche.digest import Digest

logger = logger_of("fleche.digest")


@dataclass
class Hook(Generic[T]):
    """How to digest the instances of a class.

    Args:
        type: the class; instances of its subclasses count, too.
        digest: called with the instance, gives its digest.

    >>> from fleche.digest import Hook, digest
    >>> Hook(set, lambda value: digest(sorted(value))).type
    <class 'set'>
    """

    type: type[T]
    digest: Callable[[T], str | Digest]


def add_hook(hook: Hook[T] | tuple[type[T], Callable[[T], str]]) -> None:
    """Registers a hook; of several that fit a value the newest decides.

    A hook goes before the value's own ``__digest__`` and before everything built in.

    Args:
        hook: a `Hook`, or its class and function as a tuple.

    Raises:
        ValueError: anything else.

    >>> from fleche.digest import add_hook, digest
    >>> class Celsius:
    ...     def __init__(self, degrees):
    ...         self.degrees = degrees
    >>> add_hook((Celsius, lambda value: digest(("Celsius", value.degrees))))
    >>> digest(Celsius(20)) == digest(("Celsius", 20))
    True
    """
    _core.add_hook(_checked(hook))


def _checked(hook: Any) -> Hook[Any]:
    if isinstance(hook, Hook):
        checked = hook
    elif isinstance(hook, tuple) and len(hook) == 2:
        checked = Hook(*hook)
    else:
        raise _no_hook(hook)
    try:
        isinstance(None, checked.type)
    except TypeError:
        raise _no_hook(hook) from None
    if not callable(checked.digest):
        raise _no_hook(hook)
    return checked


def _no_hook(hook: object) -> ValueError:
    return ValueError(f"Must be a Hook instance or (type, digest function) tuple, not {hook!r}!")


def get_hooks() -> list[Hook[Any]]:
    """Every hook, in the order in which they are tried: newest first, then entry points."""
    return _core.get_hooks()


def load_entry_points() -> None:
    """Loads the hooks that installed packages provide, in place of those loaded before.

    Each entry point of the group ``fleche`` and the name ``digest`` is a hook, a tuple of class and
    function, or a list of them. Of two for one class the first counts, and one from `add_hook`
    goes before both (logged as INFO). One that fails to load is logged as ERROR and left out.
    """
    from importlib.metadata import entry_points

    manual = [hook.type for hook in _core.manual_hooks()]
    taken: list[tuple[type, str]] = []
    loaded: list[Hook[Any]] = []
    for point in entry_points(group="fleche", name="digest"):
        try:
            for hook in _hooks_of(point):
                earlier = next((source for of, source in taken if of is hook.type), None)
                if any(of is hook.type for of in manual):
                    logger.info("add_hook for %r overrides entry point %s", hook.type, point.value)
                elif earlier is not None:
                    logger.info(
                        "%s already provides a digest for %r; ignoring entry point %s",
                        earlier,
                        hook.type,
                        point.value,
                    )
                else:
                    taken.append((hook.type, point.value))
                    loaded.append(hook)
        except Exception as error:
            logger.error("Failed to load entry point %s: %s", point.value, error, exc_info=True)
    _core.set_entry_point_hooks(loaded)


def _hooks_of(point: EntryPoint) -> Iterator[Hook[Any]]:
    provided = point.load()
    for hook in provided if isinstance(provided, list) else [provided]:
        yield _checked(hook)


_entry_points_seen: object = None


def refresh_entry_points() -> bool:
    """Loads entry points if packages may have come or gone; whether there are other hooks now.

    Called whenever a value is about to be given up as indigestible.
    """
    global _entry_points_seen
    installed = _installed()
    if installed == _entry_points_seen:
        return False
    # First, as what is loaded may digest values and come here again.
    _entry_points_seen = installed
    before = get_hooks()
    load_entry_points()
    after = get_hooks()
    return len(before) != len(after) or any(
        old is not new for old, new in zip(before, after, strict=True)
    )


def _installed() -> list[tuple[str, int]]:
    """The folders that packages are installed in, each with the time of its last change."""
    folders = []
    for path in sys.path:
        try:
            changed = os.stat(path or ".").st_mtime_ns
        except OSError:
            changed = -1
        folders.append((path, changed))
    return folders


# Shown and pickled by their public names.
__test__ = {each.__name__: each for each in (Hook, add_hook, get_hooks, load_entry_points)}
for _public in __test__.values():
    _public.__module__ = "fleche.digest"
