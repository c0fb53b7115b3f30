"""The active cache and metadata of the running code.

Both live in `contextvars.ContextVar` objects, so threads and tasks are independent of each other.
Where none was set, the configured default counts; it is loaded when first needed, never before.

`bound` carries what is active elsewhere (`BoundWrapper`). May import metadata, caches and what is
below; the configuration is looked up.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from fleche._foundation import seam
from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fleche.caches import BaseCache
    from fleche.metadata import MetaData
    from fleche.state.bound import BoundWrapper as BoundWrapper

__getattr__, __dir__ = names_of(
    __name__,
    {
        "BoundWrapper": "fleche.state.bound",
        **{name: f"fleche.{name}" for name in ("caches", "config", "metadata")},
    },
)

_T = TypeVar("_T")

_CACHE: ContextVar[BaseCache] = ContextVar("fleche.CACHE")
_METADATA: ContextVar[tuple[MetaData, ...]] = ContextVar("fleche.METADATA")

# What counts where nothing was set: "cache" and "metadata", each loaded once for all threads.
_DEFAULTS: dict[str, Any] = {}


class _StickyContext(Generic[_T]):
    """A value that is set already; as a context manager it restores what was there before."""

    __slots__ = ("_token", "_var")

    def __init__(self, var: ContextVar[_T], token: Token[_T]) -> None:
        self._var = var
        self._token = token

    def __enter__(self) -> None:
        return None

    def __exit__(self, *args: object) -> None:
        self._var.reset(self._token)


def _sticky_set(var: ContextVar[_T], value: _T) -> _StickyContext[_T]:
    return _StickyContext(var, var.set(value))


def get_cache() -> BaseCache:
    """The active cache: the one set by `cache`, else the configured default.

    >>> from fleche.state import cache, get_cache
    >>> get_cache() is cache()
    True
    """
    active = _CACHE.get(None)
    if active is not None:
        return active
    if "cache" not in _DEFAULTS:
        # Two threads may both load; the first one to get here decides for all. No lock, so that
        # a fork in the middle leaves the child none to wait for.
        _DEFAULTS.setdefault("cache", seam.look_up("load_cache_config")())
    return cast("BaseCache", _DEFAULTS["cache"])


def get_metadata() -> tuple[MetaData, ...]:
    """The active metadata: what was set by `meta` and `tags`, else the configured default.

    >>> from fleche.state import get_metadata
    >>> get_metadata()[0].name
    'runtime'
    """
    active = _METADATA.get(None)
    if active is not None:
        return active
    if "metadata" not in _DEFAULTS:
        _DEFAULTS.setdefault("metadata", seam.look_up("default_metadata")())
    return cast("tuple[MetaData, ...]", _DEFAULTS["metadata"])


@overload
def cache(new_cache: None = None, stack: bool = False) -> BaseCache: ...
@overload
def cache(new_cache: BaseCache | str, stack: bool = False) -> AbstractContextManager[None]: ...
def cache(
    new_cache: BaseCache | str | None = None, stack: bool = False
) -> BaseCache | AbstractContextManager[None]:
    """Set the active cache, or return it.

    The new cache is active at once and stays so; used in a `with` statement, the one before it is
    restored at the end.

    Args:
        new_cache: A cache, or the name of a configured one (see `fleche.config`). Without it, the
            active cache is returned and nothing changes.
        stack: Put the new cache before the active one instead of replacing it: calls are looked
            up in both and saved to the new one.

    Raises:
        ValueError: `new_cache` is neither a cache nor a name, or a stack is to be stacked.

    >>> from fleche import cache
    >>> with cache("memory"):
    ...     print(type(cache()).__name__)
    Cache
    """
    if new_cache is None:
        return get_cache()

    from fleche.caches import BaseCache

    if isinstance(new_cache, str):
        new_cache = seam.look_up("load_cache_config")(new_cache)
    if not isinstance(new_cache, BaseCache):
        # The type only: a config dict may hold a secret key.
        raise ValueError(
            f"cache() takes a cache or the name of a configured one, not a "
            f"{type(new_cache).__name__}; build a cache from a dict or list with "
            f"fleche.config.cache_from_config"
        )
    if stack:
        new_cache = get_cache().push(new_cache)
    return _sticky_set(_CACHE, new_cache)


def meta(*new_metadata: MetaData, stack: bool = False) -> AbstractContextManager[None]:
    """Set which metadata is recorded with every call.

    Active at once and sticky; used in a `with` statement, what was there before is restored.

    Args:
        *new_metadata: Instances of `fleche.metadata.MetaData`; none of them: record nothing.
        stack: Add them to the active ones instead of replacing these.

    >>> from fleche import meta
    >>> from fleche.metadata import Environment
    >>> from fleche.state import get_metadata
    >>> with meta(Environment()):
    ...     [m.name for m in get_metadata()]
    ['environment']
    """
    if stack:
        new_metadata = get_metadata() + new_metadata
    return _sticky_set(_METADATA, new_metadata)


def tags(**kwargs: Any) -> AbstractContextManager[None]:
    """Record the given names and values with every call, besides the active metadata.

    Args:
        **kwargs: The tags; values must be JSON values.

    >>> from fleche import tags
    >>> from fleche.state import get_metadata
    >>> with tags(sample="A7"):
    ...     get_metadata()[-1]
    Tags(tags={'sample': 'A7'}, name='tags')
    """
    from fleche.metadata import Tags

    return meta(Tags(kwargs), stack=True)


def project(name: str) -> AbstractContextManager[None]:
    """Record the name of a project with every call: `tags(project=name)`.

    >>> from fleche import project
    >>> from fleche.state import get_metadata
    >>> with project("alloys"):
    ...     get_metadata()[-1].tags
    {'project': 'alloys'}
    """
    return tags(project=name)
