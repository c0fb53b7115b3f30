"""Futures among the arguments of a call, which is to run when they are done."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NoReturn

from fleche.digest import Indigestible


class Known(Future[Any]):
    """The finished future of a result that is known.

    It travels as that result: whoever sends it along, as an argument of another task, gives the
    other task what it stands for.

    >>> import pickle
    >>> pickle.loads(pickle.dumps(Known(7)))
    7
    """

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.set_result(result)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return itself, (self.result(),)

    def __digest__(self) -> NoReturn:
        raise Indigestible(self)


def itself(value: Any) -> Any:
    """The identity."""
    return value


def futures_in(values: Any, kind: type = Future) -> Iterator[Any]:
    """The futures in a value, as deep as executors look for them: in plain containers.

    >>> done = Known(1)
    >>> list(futures_in({"a": [1, (done,)]})) == [done]
    True
    """
    # No recursion, and no end of it where something contains itself.
    waiting, seen = [values], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, kind):
            yield value
        elif type(value) in (list, tuple, set, frozenset, dict) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(reversed([*(value.values() if type(value) is dict else value)]))


def with_results(value: Any) -> Any:
    """The value with the results of its futures, all done, in their places.

    >>> with_results({"a": [1, (Known(2),)]})
    {'a': [1, (2,)]}
    """
    if isinstance(value, Future):
        return value.result()
    if next(futures_in(value), None) is None:
        return value
    if type(value) is dict:
        return {key: with_results(held) for key, held in value.items()}
    return type(value)(map(with_results, value))


class Later(Future[Any]):
    """The future of a call that is submitted when the futures among its arguments are done.

    Args:
        futures: these.
        submit: submits the call, with their results; gives the future of that.
    """

    def __init__(self, futures: list[Future[Any]], submit: Callable[[], Future[Any]]) -> None:
        super().__init__()
        self._futures = futures
        self._submit = submit
        # The cache and metadata of here count, whichever thread ends the last of them.
        self._context = contextvars.copy_context()
        self._missing = len(futures)
        self._lock = threading.Lock()
        for future in futures:
            future.add_done_callback(self._one_is_done)

    def _one_is_done(self, _: Future[Any]) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        self._context.run(self._all_are_done)

    def _all_are_done(self) -> None:
        if self.cancelled():
            return
        for future in self._futures:
            if future.cancelled() or future.exception() is not None:
                self._take(future)
                return
        try:
            inner = self._submit()
        except BaseException as error:
            self._fail(error)
            return
        inner.add_done_callback(self._take)
        self.add_done_callback(lambda _: inner.cancel() if self.cancelled() else None)

    def _take(self, inner: Future[Any]) -> None:
        """End as another one did."""
        if inner.cancelled():
            self.cancel()
        if not self.set_running_or_notify_cancel():
            return
        error = inner.exception()
        if error is None:
            self.set_result(inner.result())
        else:
            self.set_exception(error)

    def _fail(self, error: BaseException) -> None:
        if self.set_running_or_notify_cancel():
            self.set_exception(error)
