"""The decorator: functions whose calls are cached, and what they have to offer besides.

Their calls go through `fleche._misses`; what may be decorated is in `fleche._targets`.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from fleche import _core
from fleche import state as state
from fleche._lazy import names_of
from fleche._misses import Arguments, CachedCalls, HashCode
from fleche._misses import logger as logger
from fleche._profile import Ignored, Required, Version
from fleche._targets import merged, placeholder, unbound
from fleche.call import AnyCall as AnyCall
from fleche.call import Call
from fleche.call import FunctionProfile as FunctionProfile
from fleche.call import QueryCall as QueryCall
from fleche.call import bind as bind
from fleche.digest import Digest
from fleche.state import BoundWrapper, get_cache
from fleche.state import cache as set_cache

if TYPE_CHECKING:
    from fleche.metadata import MetaData

__all__ = ["Ignored", "Required", "fleche"]

__getattr__, __dir__ = names_of(
    __name__,
    {
        **dict.fromkeys(("BaseCache", "RefreshingCache", "Rejected"), "fleche.caches"),
        "metadata": "fleche.metadata",
    },
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


@overload
def fleche(_func: Callable[_P, _R], /) -> Callable[_P, _R]: ...
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
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
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
) -> Any:
    """Cache the calls of a function in the active cache, keyed by the content of the arguments.

    The decorated function has helpers, each also in its namespace `.fleche`: `call`, `digest`,
    `query`, `load`, `contains`, `rerun` and `bind`, which take the function's arguments.

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

    Raises:
        ValueError: if `require` or `ignore` names no parameter, or `hash_code` is none of these.

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

    if not (hash_code is None or isinstance(hash_code, bool) or hash_code == "deep"):
        raise ValueError(f"hash_code={hash_code!r}: choose None, True, 'deep' or False")

    def decorate(func: Any) -> Any:
        if isinstance(func, staticmethod | classmethod):
            # Decorated below, so that the descriptor still binds as it should.
            return type(func)(decorate(func.__func__))
        if not callable(func):
            what = type(func).__name__
            raise TypeError(
                f"fleche decorates a callable, not a {what}; its options are keyword arguments"
            )
        target = unbound(func)
        calls = CachedCalls(
            target,
            version=_checked_version(version),
            meta=tuple(meta),
            hash_version=hash_version,
            hash_module=hash_module,
            hash_code=hash_code,
            require=_names(require),
            ignore=_names(ignore),
            isolate=isolate,
            typed=typed,
            strict=strict,
        )
        return _make_wrapper(calls)

    return decorate if _func is None else decorate(_func)


def _checked_version(version: Any) -> Version:
    if version is None or isinstance(version, str | int | float | tuple):
        return version  # type: ignore[return-value]
    kind = type(version).__name__
    raise TypeError(f"fleche(version=...) takes a str or an int, not a {kind}")


def _make_wrapper(calls: CachedCalls) -> Callable[..., Any]:
    target = calls.target
    if target.adds():

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return calls.run(target.positional(args), {**target.kwargs, **kwargs})

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return calls.run(args, kwargs)

    # First of its attributes: where the function is pickled by value, it is read before it goes.
    own = _core.DecoratedDigest(target.original, calls.version)
    wrapper.__digest__ = own  # type: ignore[attr-defined]
    functools.update_wrapper(wrapper, target.function)
    if target.named is not None:
        kind = type(target.named)
        wrapper.__name__, wrapper.__qualname__ = kind.__name__, kind.__qualname__
        wrapper.__module__, wrapper.__doc__ = kind.__module__, kind.__doc__
    wrapper.__wrapped__ = target.original  # type: ignore[attr-defined]
    if calls.version is not None:
        wrapper.__version__ = calls.version  # type: ignore[attr-defined]
    wrapper.__digest__ = own  # type: ignore[attr-defined]
    namespace = types.SimpleNamespace()
    wrapper.fleche = namespace  # type: ignore[attr-defined]
    for helper in _helpers(calls, wrapper):
        setattr(namespace, helper.__name__, helper)
        setattr(wrapper, helper.__name__, helper)
    return wrapper


def _helpers(calls: CachedCalls, wrapper: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
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

    yield helper(f"The call of `{name}` with these arguments; nothing runs.", Call, call)

    def digest(*args: Any, **kwargs: Any) -> Digest:
        return calls.key(*given(args, kwargs)) if adds else calls.key(args, kwargs)

    yield helper(f"The key of the call of `{name}` with these arguments.", Digest, digest)

    def query(*args: Any, **kwargs: Any) -> QueryIterator:
        # Of a function that has such a parameter it is an argument, as in a call.
        metadata = None if _takes(calls, "metadata") else kwargs.pop("metadata", None)
        # A gap that is left matches everything, as any argument that is left out.
        held = (None if a is placeholder() else a for a in merged(target.args, args))
        template = calls.query_call(tuple(held), {**target.kwargs, **kwargs})
        template.metadata = metadata
        return get_cache().query(template)

    yield helper(
        f"The cached calls of `{name}` with these arguments; those left out match everything.",
        Iterable[Call],
        query,
    )

    def load(*args: Any, **kwargs: Any) -> Any:
        return calls.load(get_cache(), *given(args, kwargs))

    def load_explicit(*args: Any, **kwargs: Any) -> Any:
        # For executors: a call that would run without a cache is no hit before it is sent, too.
        positional, named = given(args, kwargs)
        bound = calls.signature.bind(*positional, **named).arguments
        if calls.required - bound.keys():
            raise KeyError(*(calls.required - bound.keys()))
        return load(*args, **kwargs)

    load._explicit = load_explicit  # type: ignore[attr-defined]
    yield helper(f"The cached result of `{name}`; `KeyError` if there is none.", returns, load)

    def contains(*args: Any, **kwargs: Any) -> bool:
        return calls.contained(get_cache(), *given(args, kwargs))

    yield helper(f"Whether the call of `{name}` with these arguments is cached.", bool, contains)

    def rerun(*args: Any, **kwargs: Any) -> Any:
        with set_cache(RefreshingCache(get_cache())):
            return wrapper(*args, **kwargs)

    yield helper(
        f"Compute `{name}` and every cached call below it again, and replace the results.",
        returns,
        rerun,
    )

    def bind(*args: Any, **kwargs: Any) -> BoundWrapper:
        bound = functools.partial(wrapper, *args, **kwargs) if args or kwargs else wrapper
        return BoundWrapper.bind(bound)

    yield helper(
        f"`{name}` with these arguments and the active cache and metadata, for other threads and "
        f"processes.",
        BoundWrapper,
        bind,
    )


def _takes(calls: CachedCalls, name: str) -> bool:
    """Whether a function has a parameter that may be passed by this name."""
    parameter = calls.signature.parameters.get(name)
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


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


def _names(names: str | Iterable[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset()
    return frozenset((names,) if isinstance(names, str) else names)
