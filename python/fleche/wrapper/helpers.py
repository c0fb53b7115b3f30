"""What a decorated function offers besides its calls: `f.load`, `f.query` and the rest."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from fleche import _core
from fleche._foundation import seam
from fleche.call import Call, LazyCall
from fleche.call.ages import Age
from fleche.call.outcomes import Outcome
from fleche.call.outcomes import given as outcome_given
from fleche.digest import Digest
from fleche.state import BoundWrapper, get_cache
from fleche.state import cache as set_cache
from fleche.wrapper.calls import CachedCalls
from fleche.wrapper.misses import Arguments
from fleche.wrapper.once import Running
from fleche.wrapper.options import Options
from fleche.wrapper.targets import merged, placeholder

# So many views of other freshness are kept of a function.
_MOST_OTHERS = 32


def helpers_of(
    calls: CachedCalls,
    wrapper: Callable[..., Any],
    decorate: Callable[[Options], Callable[..., Any]],
) -> Iterator[Callable[..., Any]]:
    """The helpers of a decorated function, each a function that takes the function's arguments.

    Args:
        calls: the function's calls.
        wrapper: the decorated function.
        decorate: decorates the function with other options.
    """
    from fleche.caches import RefreshingCache
    from fleche.query import QueryIterator

    target, name = calls.target, calls.name
    annotations = _annotations_of(target.function)
    returns = annotations.get("return", Any)

    def helper(doc: str, result: Any, body: Callable[..., Any]) -> Callable[..., Any]:
        body.__module__ = wrapper.__module__
        body.__qualname__ = f"{wrapper.__qualname__}.{body.__name__}"
        body.__doc__ = doc
        body.__annotations__ = {**annotations, "return": result}
        body.__wrapped__ = target.original  # type: ignore[attr-defined]
        return body

    adds = target.adds()

    def given(args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[Any, ...], Arguments]:
        if not adds:
            return args, kwargs
        return target.positional(args), {**target.kwargs, **kwargs}

    def call(*args: Any, **kwargs: Any) -> Call:
        return calls.call(*given(args, kwargs))

    call._calls = calls  # type: ignore[attr-defined]
    yield helper(f"The call of `{name}` with these arguments; nothing runs.", Call, call)

    def digest(*args: Any, **kwargs: Any) -> Digest:
        return calls.key(*given(args, kwargs)) if adds else calls.key(args, kwargs)

    yield helper(f"The key of the call of `{name}` with these arguments.", Digest, digest)

    def query(*args: Any, **kwargs: Any) -> QueryIterator:
        # Of a function that has such a parameter it is an argument, as in a call.
        metadata = None if calls.takes("metadata") else kwargs.pop("metadata", None)
        max_age = None if calls.takes("max_age") else kwargs.pop("max_age", None)
        # A gap that is left matches everything, as any argument that is left out.
        held = (None if a is placeholder() else a for a in merged(target.args, args))
        template = calls.query_call(tuple(held), {**target.kwargs, **kwargs})
        template.metadata = metadata
        found = get_cache().query(template)
        return found if max_age is None else found.fresh(max_age)

    yield helper(
        f"The cached calls of `{name}` with these arguments; those left out match everything.",
        Iterable[Call],
        query,
    )

    def load(*args: Any, **kwargs: Any) -> Any:
        return calls.load(get_cache(), *given(args, kwargs))

    def load_explicit(*args: Any, **kwargs: Any) -> Any:
        # For executors: a call that would run without a cache is no hit before it is sent, too.
        began = time.perf_counter()
        positional, named = given(args, kwargs)
        bound = calls.signature.bind(*positional, **named).arguments
        if calls.required - bound.keys():
            raise KeyError(*(calls.required - bound.keys()))
        cache = get_cache()
        look_up = functools.partial(calls.stored, cache, positional, named)
        stored = _core.load_unchanged(look_up)
        if type(stored) is Outcome and stored.error is not None:
            # Raised where it is run, as any other.
            raise KeyError(stored)
        key = calls.key(positional, named) if _core.is_listening() else ""
        calls.misses.counting.hit(cache, key, time.perf_counter() - began)
        return outcome_given(stored)

    load._explicit = load_explicit  # type: ignore[attr-defined]
    yield helper(f"The cached result of `{name}`; `KeyError` if there is none.", returns, load)

    def contains(*args: Any, **kwargs: Any) -> bool:
        return calls.contained(get_cache(), *given(args, kwargs))

    yield helper(f"Whether the call of `{name}` with these arguments is cached.", bool, contains)

    def explain(*args: Any, **kwargs: Any) -> Any:
        from fleche.wrapper.explained import explain

        return explain(calls, *given(args, kwargs))

    yield helper(
        f"Whether the call of `{name}` with these arguments is cached, and if not, why.",
        Any,
        explain,
    )

    def rerun(*args: Any, **kwargs: Any) -> Any:
        with set_cache(RefreshingCache(get_cache())):
            return wrapper(*args, **kwargs)

    async def rerun_awaited(*args: Any, **kwargs: Any) -> Any:
        with set_cache(RefreshingCache(get_cache())):
            return await wrapper(*args, **kwargs)

    rerun_awaited.__name__ = rerun.__name__
    yield helper(
        f"Compute `{name}` and every cached call below it again, and replace the results.",
        returns,
        rerun if calls.awaited is None else rerun_awaited,
    )

    def bind(*args: Any, **kwargs: Any) -> BoundWrapper[Any]:
        bound = functools.partial(wrapper, *args, **kwargs) if args or kwargs else wrapper
        return BoundWrapper.bind(bound)

    yield helper(
        f"`{name}` with these arguments and the active cache and metadata, for other threads and "
        f"processes.",
        BoundWrapper,
        bind,
    )

    others: dict[tuple[Any, ...], Any] = {}

    def fresh(
        *,
        max_age: Age | None = None,
        stale_ok: Age | bool = False,
        valid: Callable[[LazyCall], bool] | None = None,
    ) -> Any:
        asked = max_age, stale_ok, valid
        if asked not in others:
            # There are a few; where there are many, they are made anew.
            if len(others) >= _MOST_OTHERS:
                others.clear()
            options = replace(calls.options, max_age=max_age, stale_ok=stale_ok, valid=valid)
            others[asked] = decorate(options)
        return others[asked]

    yield helper(
        f"`{name}`, for which other results are good: as `max_age`, `stale_ok` and `valid` say.",
        Callable[..., Any],
        fresh,
    )

    def running(*args: Any, **kwargs: Any) -> Running | None:
        return calls.once.running(get_cache(), calls.key(*given(args, kwargs)))

    yield helper(
        f"Who computes the call of `{name}` with these arguments now, as others wait for it "
        f"(`once=True`); `None` if nobody does.",
        Running,
        running,
    )

    def stats(*, days: int | None = None) -> Any:
        from fleche.statistics import stats

        name, module = calls.named()
        return stats(days=days, function=(module, name))

    yield helper(f"What became of the calls of `{name}` in the active cache.", Any, stats)

    def map_calls(
        *iterables: Iterable[Any],
        executor: Any = None,
        progress: bool | None = None,
        errors: Any = "raise",
        **lists: Iterable[Any],
    ) -> Any:
        sweep = seam.look_up("sweep")
        options = {"executor": executor, "progress": progress, "errors": errors}
        return sweep(calls, wrapper, iterables, lists, **options)

    map_calls.__name__ = "map"
    map_calls = helper(_MAP.format(name), Iterable, map_calls)
    # It takes lists of the function's arguments.
    del map_calls.__wrapped__  # type: ignore[attr-defined]
    map_calls.__annotations__ = {"return": Iterable}
    yield map_calls


_MAP = """A sweep: the calls of `{}` with all of these arguments, those that are not cached run.

Iterables are taken together, as by `map`; of lists by keyword, all combinations.

Args:
    iterables: one for each positional argument.
    executor: runs the calls that are not cached, any object with a `submit`; `None`: they run in
        the thread that asks for results.
    progress: whether a bar is shown; `None`: in terminals and notebooks, if `tqdm` is installed.
    errors: `"raise"` raises a `fleche.SweepFailed` after all calls are done, `"return"` gives what
        a call raised in the place of its result.
    lists: for each argument by keyword, its values.

Raises:
    TypeError: if something is no list of values, or the arguments do not fit the function.
"""


def _annotations_of(func: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        # Annotations may name what does not exist at run time.
        try:
            return annotationlib.get_annotations(func, format=annotationlib.Format.FORWARDREF)
        except TypeError:
            return {}
    found = getattr(func, "__annotations__", None)
    return found if isinstance(found, dict) else {}
