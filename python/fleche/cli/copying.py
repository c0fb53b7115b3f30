"""Copying calls, with their values, from a cache to another one; what is there is skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleche.cli.output import Output
from fleche.cli.shown import count
from fleche.cli.stores import Mistake

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["Copied", "copy"]


@dataclass
class Copied:
    """What became of calls that were to be copied.

    Args:
        copied: how many were.
        skipped: how many were there already.
        failed: why others could not be, by key.
    """

    copied: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"copied": self.copied, "skipped": self.skipped, "failed": self.failed}

    def say(self, output: Output) -> None:
        """Say it to people."""
        there = f", {self.skipped:,} were there already" if self.skipped else ""
        output.say(f"copied {count(self.copied, 'call')}{there}")
        for key, why in self.failed.items():
            output.say(f"not copied: {key}: {why}", "red")


def copy(
    calls: Iterable[LazyCall],
    source: BaseCache,
    target: BaseCache,
    output: Output,
    *,
    total: int | None = None,
    verify: bool = False,
) -> Copied:
    """Copy calls to another cache, under the keys that they have.

    Args:
        calls: the calls.
        source: the cache that gave them.
        target: where to.
        output: shows how far it is.
        total: how many there are.
        verify: whether to read each call back, those that were there already, too.

    Raises:
        Mistake: if nothing can be saved there.
    """
    from fleche.caches import ReadOnlyMixin
    from fleche.query.filed import filed_key

    if isinstance(target, ReadOnlyMixin):
        raise Mistake("nothing can be copied there: that cache is read-only")
    done = Copied()
    for call in output.progress(calls, "Copying", total):
        key = filed_key(call, source)
        try:
            is_new = not _has(target, key)
            if is_new:
                _copy_one(call, key, target)
            if verify:
                _verify(call, key, target)
        except Exception as error:
            why = error.args[0] if isinstance(error, KeyError) and error.args else error
            lost = "a value is lost, or cannot be loaded: " if isinstance(error, KeyError) else ""
            done.failed[str(key)] = f"{lost}{why}"
            continue
        if is_new:
            done.copied += 1
        else:
            done.skipped += 1
    return done


def _has(target: BaseCache, key: Any) -> bool:
    """Whether a cache has a call with its result: a copy that was stopped may lack it."""
    try:
        found = target.load(key)
        return found._result is None or found._stored_result() is not None
    except KeyError:
        return False


def _copy_one(call: LazyCall, key: Any, target: BaseCache) -> None:
    from fleche.caches.base import fetch_again

    with target._operation_context(key):
        saved = target.save(fetch_again(call, key, keep=True))
    if saved != key:
        raise ValueError(f"it would be filed as {saved} there, as its arguments were changed")


def _verify(call: LazyCall, key: Any, target: BaseCache) -> None:
    """Compare a call with its copy.

    Raises:
        ValueError: if it differs.
        KeyError: if its result cannot be loaded.
    """
    copied = target.load(key)
    copied._stored_result()
    for what in ("name", "module", "version", "code_digest", "metadata"):
        if getattr(copied, what) != getattr(call, what):
            raise ValueError(f"read back, its {what} differs")
    if copied._arguments != call._arguments:
        raise ValueError("read back, its arguments differ")
