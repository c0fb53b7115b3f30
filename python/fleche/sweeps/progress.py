"""The progress bar of a sweep, by `tqdm`."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

__all__ = ["Progress", "seconds_left"]

# How many recorded calls tell how long one takes.
_SAMPLE = 50


class Progress:
    """Shows how far a sweep is, as long as that is wanted and possible.

    Args:
        name: the function's.
        wanted: whether a bar is shown; `None`: if `tqdm` is installed and somebody may see it.

    Raises:
        ImportError: if one is wanted, but `tqdm` is not installed.
    """

    def __init__(self, name: str, wanted: bool | None) -> None:
        self._name = name
        self._new_bar = _bars(wanted)
        self._bar: Any = None
        self._guess: float | None = None

    def open(self, total: int, done: int, hits: int, guess: Callable[[], float | None]) -> None:
        """Begin to show how far it is.

        Args:
            total: how many calls there are.
            done: how many of them are done.
            hits: how many of these the cache held.
            guess: tells how many seconds the others may take; `None`, if nobody knows.
        """
        if self._new_bar is None or self._bar is not None or done == total:
            return
        guessed = guess()
        self._guess = guessed if guessed is not None and guessed >= 1 else None
        self._try(lambda: self._begin(total, done))
        self._show(hits, done - hits, 0)

    def _begin(self, total: int, done: int) -> None:
        assert self._new_bar is not None
        self._bar = self._new_bar(
            total=total, initial=done, desc=self._name, unit="call", dynamic_ncols=True
        )

    def one_is_done(self, hits: int, runs: int, failures: int) -> None:
        """Count one more call, and say how many were hits, ran and failed so far."""
        if self._bar is None:
            return
        self._guess = None
        self._show(hits, runs, failures)
        self._try(lambda: self._bar.update(1))

    def _show(self, hits: int, runs: int, failures: int) -> None:
        if self._bar is None:
            return
        counts = f"{hits} hits, {runs} runs"
        if failures:
            counts += f", {failures} failed"
        if self._guess is not None:
            counts += f", about {_duration(self._guess)} left"
        self._try(lambda: self._bar.set_postfix_str(counts, refresh=self._guess is not None))

    def close(self) -> None:
        """Leave the bar as it is."""
        bar = self._bar
        if bar is not None:
            self._try(bar.close)
        self._bar = None

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception:
            # Where it is shown was closed: the sweep goes on without.
            self._bar = self._new_bar = None


def _bars(wanted: bool | None) -> Callable[..., Any] | None:
    """What makes a progress bar, if there is to be one."""
    if wanted is False or (wanted is None and not _is_watched()):
        return None
    try:
        # In a notebook it is one of the notebook's.
        from tqdm.auto import tqdm
    except ImportError as error:
        if wanted is None:
            return None
        raise ImportError("progress=True needs tqdm: pip install 'fleche[progress]'") from error
    found: Callable[..., Any] = tqdm
    return found


def _is_watched() -> bool:
    """Whether standard error is a terminal's, or this is a notebook."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr.isatty()
    except Exception:
        # There is none, or it was closed.
        return False


def seconds_left(walltimes: Iterable[float], count: int, workers: int) -> float | None:
    """How long calls may take, by what others took; `None` if none is known.

    Args:
        walltimes: how many seconds others took.
        count: how many calls there are.
        workers: how many of them run at a time.

    >>> seconds_left([1.0, 1.0, 50.0], count=8, workers=2)
    4.0
    """
    known = [*islice(walltimes, _SAMPLE)]
    if not known:
        return None
    return statistics.median(known) * count / max(1, min(workers, count))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
