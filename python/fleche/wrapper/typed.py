"""What type checkers know of decorated functions, which are plain functions at run time.

A `Cached[P, R]` is a function with parameters `P` and results `R`, and has helpers. Looked up on a
class or an instance it is bound as any function is, if it is a method or a class method; its
helpers are not, at run time either: `thing.f(1)`, but `thing.f.load(thing, 1)`.

>>> from fleche import fleche
>>> from fleche.wrapper.typed import Cached
>>> @fleche
... def double(x: int) -> int:
...     return 2 * x
>>> def is_known(function: Cached[[int], int], x: int) -> bool:
...     return function.contains(x)
>>> is_known(double, -21)
False
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from fleche.call import Call, LazyCall
    from fleche.call.ages import Age
    from fleche.digest import Digest
    from fleche.query import QueryIterator
    from fleche.state import BoundWrapper
    from fleche.statistics import Statistics
    from fleche.sweeps import Sweep
    from fleche.wrapper.explanation import Explanation
    from fleche.wrapper.once import Running

__all__ = ["Cached", "Decorate", "Helpers", "OnClass", "OnInstance"]

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_I = TypeVar("_I")
_T = TypeVar("_T")
_Owner = TypeVar("_Owner", covariant=True)
_R = TypeVar("_R", covariant=True)


class Helpers(Generic[_P, _R]):
    """What a decorated function offers besides its calls."""

    def call(self, *args: _P.args, **kwargs: _P.kwargs) -> Call:
        """The call with these arguments; nothing runs."""
        raise NotImplementedError

    def digest(self, *args: _P.args, **kwargs: _P.kwargs) -> Digest:
        """The key of the call with these arguments."""
        raise NotImplementedError

    def query(self, *args: Any, **kwargs: Any) -> QueryIterator:
        """The cached calls with these arguments; those left out match everything."""
        raise NotImplementedError

    @overload
    def load(
        self: Helpers[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T: ...
    @overload
    def load(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def load(self, *args: Any, **kwargs: Any) -> Any:
        """The cached result; `KeyError` if there is none."""
        raise NotImplementedError

    def contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Whether the call with these arguments is cached."""
        raise NotImplementedError

    def explain(self, *args: _P.args, **kwargs: _P.kwargs) -> Explanation:
        """Whether the call with these arguments is cached, and if not, why; nothing runs."""
        raise NotImplementedError

    def map(
        self,
        *iterables: Iterable[Any],
        executor: Any = None,
        progress: bool | None = None,
        errors: Literal["raise", "return"] = "raise",
        **lists: Iterable[Any],
    ) -> Sweep[_R]:
        """The calls with all of these arguments, as a sweep; those that are not cached run."""
        raise NotImplementedError

    def rerun(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Compute the call, and every cached call below it, again, and replace the results."""
        raise NotImplementedError

    def bind(self, *args: Any, **kwargs: Any) -> BoundWrapper[_R]:
        """The function with these arguments and the active cache, for threads and processes."""
        raise NotImplementedError

    def fresh(
        self,
        *,
        max_age: Age | None = None,
        stale_ok: Age | bool = False,
        valid: Callable[[LazyCall], bool] | None = None,
    ) -> Cached[_P, _R]:
        """The function, for which other results are good."""
        raise NotImplementedError

    def running(self, *args: _P.args, **kwargs: _P.kwargs) -> Running | None:
        """Who computes the call at this moment; `None` if nobody does."""
        raise NotImplementedError

    def stats(self, *, days: int | None = None) -> Statistics:
        """What became of the calls of the function in the active cache."""
        raise NotImplementedError


class Cached(Helpers[_P, _R]):
    """A decorated function; of a coroutine function, calls give coroutines, and `load` results."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R]
    fleche: Helpers[_P, _R]
    """The helpers, also where the function has attributes of their names."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The result, cached or computed."""
        raise NotImplementedError

    @overload
    def __get__(self, instance: None, owner: type[_I], /) -> OnClass[_I, _P, _R]: ...
    @overload
    def __get__(self, instance: _I, owner: type[_I], /) -> OnInstance[_I, _P, _R]: ...
    def __get__(self, instance: Any, owner: Any, /) -> Any:
        raise NotImplementedError


class OnClass(Helpers[_P, _R], Generic[_Owner, _P, _R]):
    """A decorated function, looked up on a class: bound if it is a class method.

    Checkers do not say whether it is one, so its first parameter tells.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R]
    fleche: Helpers[_P, _R]

    @overload
    def __call__(
        self: OnClass[_I, Concatenate[type[_I], _Q], _T], *args: _Q.args, **kwargs: _Q.kwargs
    ) -> _T: ...
    @overload
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class OnInstance(Helpers[_P, _R], Generic[_Owner, _P, _R]):
    """A decorated function, looked up on an instance: bound, unless it is a static method."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R]
    fleche: Helpers[_P, _R]

    @overload
    def __call__(
        self: OnInstance[_I, Concatenate[_I, _Q], _T], *args: _Q.args, **kwargs: _Q.kwargs
    ) -> _T: ...
    @overload
    def __call__(
        self: OnInstance[_I, Concatenate[type[_I], _Q], _T],
        *args: _Q.args,
        **kwargs: _Q.kwargs,
    ) -> _T: ...
    @overload
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Decorate:
    """`@fleche(...)`, with its options."""

    def __call__(self, func: Callable[_P, _R], /) -> Cached[_P, _R]:
        raise NotImplementedError
