"""The decorator: functions whose calls are cached, and what they have to offer besides.

What lives here, a file each: `decorated` (what a function becomes), `options` (what it was
decorated with), `targets` (what may be decorated), `calls` (keys and lookups), `misses` (what a
call takes that is no hit), with `admission`, `recording`, `pending` and `isolated`; `coroutines`
and `iterated` (other kinds of functions), `once` (one computation for all), `freshness` (what
expires), `moved` (what was recorded under another name), `strictness` (warnings, or errors),
`helpers` (`f.load` and the rest), `explained`, with `looking`, `nearest` and `explanation` (why a
call is not cached) and `notebook` (that, in notebooks). It may import the configuration and what is
below. A new option is a field of `Options`; what it does is a file. `counting` counts what becomes
of calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fleche import state as state
    from fleche.call import AnyCall as AnyCall
    from fleche.call import Call as Call
    from fleche.call import FunctionProfile as FunctionProfile
    from fleche.call import Ignored as Ignored
    from fleche.call import LazyCall
    from fleche.call import QueryCall as QueryCall
    from fleche.call import Required as Required
    from fleche.call import bind as bind
    from fleche.call.ages import Age
    from fleche.digest import Digest as Digest
    from fleche.metadata import MetaData
    from fleche.state import BoundWrapper as BoundWrapper
    from fleche.wrapper.options import HashCode
    from fleche.wrapper.typed import Cached, Decorate

__all__ = ["Ignored", "Required", "fleche"]

# What it does is imported when something is decorated.
__getattr__, __dir__ = names_of(
    __name__,
    {
        **dict.fromkeys(("BaseCache", "RefreshingCache", "Rejected"), "fleche.caches"),
        **dict.fromkeys(
            ("AnyCall", "Call", "FunctionProfile", "Ignored", "QueryCall", "Required", "bind"),
            "fleche.call",
        ),
        "BoundWrapper": "fleche.state",
        "Digest": "fleche.digest",
        "metadata": "fleche.metadata",
        "state": "fleche.state",
    },
    logger="fleche",
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


@overload
def fleche(_func: Callable[_P, _R], /) -> Cached[_P, _R]: ...
@overload
def fleche(
    _func: None = None,
    *,
    version: str | int | None = None,
    meta: tuple[MetaData, ...] = (),
    hash_version: bool = True,
    hash_module: bool = True,
    hash_code: HashCode = None,
    require: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    isolate: bool = False,
    typed: bool = False,
    strict: bool | None = None,
    none: bool | None = None,
    exceptions: tuple[type[BaseException], ...] | type[BaseException] | None = None,
    when: Callable[[Any], bool] | None = None,
    once: bool | None = None,
    wait: float | None = None,
    max_age: Age | None = None,
    stale_ok: Age | bool = False,
    valid: Callable[[LazyCall], bool] | None = None,
    iterate: bool = False,
    was: str | Iterable[str] = (),
    added: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Decorate: ...
def fleche(
    _func: Any = None,
    *,
    version: str | int | None = None,
    meta: tuple[MetaData, ...] = (),
    hash_version: bool = True,
    hash_module: bool = True,
    hash_code: HashCode = None,
    require: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    isolate: bool = False,
    typed: bool = False,
    strict: bool | None = None,
    none: bool | None = None,
    exceptions: tuple[type[BaseException], ...] | type[BaseException] | None = None,
    when: Callable[[Any], bool] | None = None,
    once: bool | None = None,
    wait: float | None = None,
    max_age: Age | None = None,
    stale_ok: Age | bool = False,
    valid: Callable[[LazyCall], bool] | None = None,
    iterate: bool = False,
    was: str | Iterable[str] = (),
    added: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Any:
    """Cache the calls of a function in the active cache, keyed by the content of the arguments.

    The decorated function has helpers, each also in its namespace `.fleche`: `call`, `digest`,
    `query`, `load`, `contains`, `explain`, `rerun`, `bind` and `running`, which take the function's
    arguments, `map`, which takes lists of them, `fresh` and `stats`.

    Args:
        version: counts in the keys; change it when the function changes what it computes.
        meta: metadata to record besides the active ones.
        hash_version: whether the version counts.
        hash_module: whether the function's module counts.
        hash_code: whether the function's code counts. `None`: where the name is not the
            function's alone (in scripts, notebooks and at prompts, for functions made within
            functions, and lambdas), with what it captured and the globals that it names. `True`:
            always, with what it captured. `"deep"`: with the functions of your own that it
            reaches, too. `False`: never.
        require: parameters without whose explicit value a call is not cached.
        ignore: parameters that take no part in keys and records.
        isolate: run each call in a fresh working directory, removed afterwards. There is one
            working directory for all threads: such calls take turns.
        typed: whether arguments count by type and value, as in `functools.lru_cache`, but deep.
        strict: raise what would otherwise run without the cache, with a warning; and refuse
            calls that change their arguments. `None`: as `FLECHE_STRICT` or the configuration says.
        none: cache `None`, too. `None`: as `[default] none` in the configuration says, or not.
        exceptions: exceptions that are cached, and raised again at a hit, with the traceback of
            the run as their cause. `None`: as `[default] exceptions` in the configuration says.
        when: called with each result; says whether it is cached.
        once: of all who want a call at the same time, in threads, tasks, processes and machines
            that share the store, one computes it and the others wait for its result. `None`: as
            the cache says.
        wait: for how many seconds they wait before they compute it, too. `None`: as long as it is
            computed.
        max_age: for how many seconds, or what `timedelta`, a result is good, from the end of its
            computation on; then the call is computed again.
        stale_ok: for how much longer the old result is given at once, while a thread computes the
            call again; `True`: without end.
        valid: called with the call as it is stored, arguments, result and metadata; says whether
            its result is good.
        iterate: cache the items of the iterator, or asynchronous iterator, that the function gives,
            once the last one was asked for; each call gives a new one.
        was: the dotted names that the function had before, `"package.module.f"`: calls that were
            recorded under them are found, and filed anew.
        added: parameters that it did not have then, with what it computed with: `{"c": 42}`.
        renamed: parameters by the names that they had then: `{"n": "steps"}`.

    Raises:
        ValueError: if `require`, `ignore`, `added` or `renamed` names no parameter, or `hash_code`
            is none of these.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def square(x):
    ...     print("computing")
    ...     return x * x
    >>> with cache("memory"):
    ...     square(12), square(12.0)
    computing
    (144, 144)
    """

    from fleche.wrapper.decorated import decorated
    from fleche.wrapper.options import Options, names_of_parameters

    options = Options(
        version=version,
        meta=tuple(meta),
        hash_version=hash_version,
        hash_module=hash_module,
        hash_code=hash_code,
        require=names_of_parameters(require),
        ignore=names_of_parameters(ignore),
        isolate=isolate,
        typed=typed,
        strict=strict,
        none=none,
        exceptions=(exceptions,) if isinstance(exceptions, type) else exceptions,
        when=when,
        once=once,
        wait=wait,
        max_age=max_age,
        stale_ok=stale_ok,
        valid=valid,
        iterate=iterate,
        was=(was,) if isinstance(was, str) else tuple(was),
        added=dict(added or {}),
        renamed=dict(renamed or {}),
    )

    if _func is None:
        return lambda func: decorated(func, options)
    return decorated(_func, options)
