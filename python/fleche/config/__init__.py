"""Caches, storages and metadata from configuration: dicts, lists and `fleche.toml` files.

Every `fleche.toml` from the working directory up to the home folder counts, then
`$XDG_CONFIG_HOME/fleche/cache.toml`; of several that have a top-level table, the closest file
gives all of it. `docs/configuration.md` describes every key.

One file, as the functions of the documented page are called, and patched, by their names in this
module, private ones, too. Beside them: `keys` (every key and what its value must be), `forms`
(templates, places, TOML values), `types` (from a type's name to what builds it). It may import
metadata, caches and what is below. A new key is a line in `keys`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from fleche import _core, caches
from fleche._foundation.lazy import names_of
from fleche.caches.garbage.places import mixed_up
from fleche.config import keys
from fleche.config.bounds import limited, limits_of
from fleche.config.forms import (
    escaped_places,
    expand_places,
    expand_template,
    non_default_fields,
    toml_value,
)
from fleche.config.types import is_built_in, ssh_cache, storage_constructor, storage_types
from fleche.storage.base import (
    _STORAGE_CONSTRUCTORS,
    OPENED_LATER,
    is_registered_storage,
)

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache
    from fleche.metadata import MetaData
    from fleche.storage import CallStorage, ValueStorage

__getattr__, __dir__ = names_of(
    __name__,
    {"SshCache": "fleche.remote", "metadata": "fleche.metadata", "storage": "fleche.storage"},
)

logger = logging.getLogger("fleche.config")

# What was said about files that cannot be read: once for each mistake.
_said: dict[Path, str] = {}

# The caches of one pair of storages that a configuration describes.
_PAIRS = (caches.Cache, caches.SizeLimitedCache, caches.BoundedCache)

# Every loaded cache by the name that was asked for, `None` for the default.
_live_caches: dict[str | None, BaseCache] = {}


def _collect_config_paths() -> list[Path]:
    """Return the configuration files that exist, the one that wins first.

    The walk goes from the working directory up to `$HOME` (inclusive), or to the root of the file
    system; `$XDG_CONFIG_HOME/fleche/cache.toml` comes last.

    >>> from fleche.config import _collect_config_paths
    >>> all(path.is_file() for path in _collect_config_paths())
    True
    """
    return _core.config_paths()


def _load_config(path: Path) -> dict[str, Any]:
    """Return the tables of one file, its relative paths made absolute.

    A file that cannot be read or parsed is logged as an error, once, and counts as empty.

    >>> from pathlib import Path
    >>> from fleche.config import _load_config
    >>> _load_config(Path("no such file"))
    {}
    """
    try:
        config = _core.read_config(path)
    except (OSError, ValueError) as error:
        # It is read again for each thing that is looked up in it.
        if _said.get(path) != str(error):
            _said[path] = str(error)
            logger.error("Failed to load configuration from %s: %s", path, error)
        return {}
    _said.pop(path, None)
    return config


def _is_root_config(config: Mapping[str, Any]) -> bool:
    default = config.get("default")
    return isinstance(default, Mapping) and default.get("root") is True


def _load_merged_config() -> dict[str, Any]:
    """Return the top-level tables of all configuration files, each from the closest file.

    A file with `[default] root = true` is the last one that is read.

    >>> from fleche.config import _load_merged_config
    >>> isinstance(_load_merged_config(), dict)
    True
    """
    layers = []
    for path in _collect_config_paths():
        config = _load_config(path)
        layers.append(config)
        if _is_root_config(config):
            break
    return _core.merge_configs(layers)


def _default_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    section = config.get("default", {})
    with _in_section("default"):
        if not isinstance(section, Mapping):
            raise ValueError(f"expected a table, not a {type(section).__name__}")
        keys.check(section, keys.DEFAULT, "section [default]")
    return section


def sections() -> list[str]:
    """The names of the caches in the configuration files in force.

    >>> from fleche.config import sections
    >>> "default" in sections()
    False
    """
    return [name for name in _load_merged_config() if name != "default"]


def default_section() -> Mapping[str, Any]:
    """The table `[default]` of the merged configuration files.

    Raises:
        ValueError: It is no table, or has a key that is unknown or of the wrong type.

    >>> from fleche.config import default_section
    >>> isinstance(default_section().get("strict", False), bool)
    True
    """
    return _default_section(_load_merged_config())


@contextmanager
def _in_section(name: str) -> Iterator[None]:
    """Name the section, and the file that it is from, in the errors raised inside."""
    try:
        yield
    except (ValueError, ImportError) as error:
        path = next((p for p in _collect_config_paths() if name in _load_config(p)), None)
        place = f"[{name}]" if path is None else f"{path}, [{name}]"
        if isinstance(error, ImportError):  # its attributes matter to those who catch it
            error.add_note(f"asked for by {place}")
            raise
        with keys.at(place):
            raise


def load_default_metadata() -> tuple[MetaData, ...]:
    """Load the default metadata from the merged configuration files.

    Returns:
        A new instance of every class named by `[default] metadata`; without that key, a
        `Runtime` alone.

    Raises:
        ValueError: A name is not that of a configurable class; `Tags` is none.

    >>> from fleche.config import load_default_metadata
    >>> [m.name for m in load_default_metadata()]
    ['runtime']
    """
    from fleche.metadata import CONFIGURABLE

    names = default_section().get("metadata", ["Runtime"])
    with _in_section("default"):
        for name in names:
            if name not in CONFIGURABLE:
                raise ValueError(
                    f"metadata: Unknown or non-configurable metadata type in config: {name}. "
                    f"{keys.suggestion(name, CONFIGURABLE)}"
                )
    return tuple(CONFIGURABLE[name]() for name in names)


@overload
def storage_from_config(d: dict[str, Any], type: Literal["call"]) -> CallStorage: ...
@overload
def storage_from_config(d: dict[str, Any], type: Literal["value"]) -> ValueStorage: ...
def storage_from_config(
    d: dict[str, Any], type: Literal["call", "value"]
) -> CallStorage | ValueStorage:
    """Build a storage from a config dict.

    Args:
        d: A `"type"` (case-sensitive, lower case) and the settings of that type; it is not
            changed. Relative paths are relative to the working directory.

            - `{"type": "memory"}`; for values also `remaining_depth`
            - `{"type": "void"}`
            - `{"type": "pickle", "root": "<path>"}`; also `compress`, `compress_level`,
              `lock_timeout` (seconds), `secret_key` (list of hex strings), for values
              `remaining_depth` and `mmap`
            - `{"type": "cloudpickle", "root": "<path>"}` and `{"type": "dill", "root": "<path>"}`,
              as for `"pickle"`
            - `{"type": "bagofholding_hdf", "root": "<path>"}`; also `lock_timeout`,
              `version_validator`, `prefix_length`, for values `remaining_depth`
            - `{"type": "sql", "url": "<sqlalchemy-url>"}` for calls; also `echo`
            - `{"type": "bucket", "url": "s3://bucket/folder"}`; also `endpoint`, `region`,
              `profile`, `account`, `anonymous`, `timeout` (seconds), `secret_key`, `serializer`,
              `compress`, for values `remaining_depth`, for calls `mirror` and `lease` (seconds)
            - the name and settings of a class that `fleche.storage.register_storage` made known
        type: `"value"` or `"call"`.

    Raises:
        ValueError: The type is unknown or not of this kind, a key is missing, unknown or has a
            value of the wrong type.
        ImportError: A package that the type needs is not installed.

    >>> from fleche.config import storage_from_config
    >>> storage_from_config({"type": "memory", "remaining_depth": 2}, "value")
    ValueMemory(storage={}, remaining_depth=2)
    """
    if not isinstance(d, Mapping):
        raise ValueError(f"expected a table with a 'type', not a {d.__class__.__name__}")
    if type not in keys.STORAGES:
        raise ValueError(f"a storage is for 'value' or 'call', not for {type!r}")
    settings = dict(d)
    try:
        name = settings.pop("type")
    except KeyError:
        raise ValueError(
            f"missing key 'type' for a {type} storage. {keys.suggestion(None, storage_types(type))}"
        ) from None
    what = f"{type} storage type {name!r}"
    if is_built_in(name, type):
        # Before the constructor is looked up: that may take a package that is not installed.
        keys.check(settings, keys.STORAGES[type][name], what)
    expand_places(settings, what)
    constructor = storage_constructor(name, type)
    try:
        return cast("CallStorage | ValueStorage", constructor(**settings))
    except TypeError as error:
        raise ValueError(f"{what}: {error}") from error


def _asdict_init_only(obj: Any) -> dict[str, Any]:
    """Like `dataclasses.asdict`, without the fields that the constructor does not take.

    Those are internal (locks, handles), here and in nested dataclasses.

    >>> from dataclasses import dataclass, field
    >>> from fleche.config import _asdict_init_only
    >>> @dataclass
    ... class Example:
    ...     a: int
    ...     lock: object = field(init=False, default=None)
    >>> _asdict_init_only(Example(1))
    {'a': 1}
    """
    import dataclasses

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _asdict_init_only(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(plain, value))
        if isinstance(value, (list, tuple)):
            return type(value)(map(plain, value))
        if isinstance(value, dict):
            return {plain(key): plain(item) for key, item in value.items()}
        import copy

        return copy.deepcopy(value)

    return {f.name: plain(getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.init}


def storage_to_config(s: ValueStorage | CallStorage) -> dict[str, Any]:
    """Convert a storage to a config dict, the inverse of `storage_from_config`.

    The result holds TOML and JSON values only. A signing key is among them, as hex.

    Raises:
        ValueError: The storage's class is not registered, or it holds what no config can.

    >>> from fleche.config import storage_to_config
    >>> from fleche.storage import CallMemory
    >>> storage_to_config(CallMemory({}))
    {'type': 'memory'}
    """
    cls = type(s)
    if not is_registered_storage(cls):
        raise ValueError(f"Cannot convert storage of type {cls.__name__!r} to config")
    to_config = getattr(s, "to_config", None)
    settings = _registered_fields(s) if to_config is None else to_config()
    if settings.get("type") not in storage_types("value") | storage_types("call"):
        raise ValueError(
            f"Cannot convert storage of type {cls.__name__!r} to config: no storage is registered "
            f"as {settings.get('type')!r}"
        )
    config = {}
    for key, value in settings.items():
        # TOML has no null: `None` is what the key's absence means.
        if value is not None:
            with keys.at(f"Cannot convert storage of type {cls.__name__!r} to config: {key}"):
                config[key] = toml_value(value)
    return escaped_places(config)


def _registered_fields(s: Any) -> dict[str, Any]:
    """The config of a registered dataclass that has no `to_config` of its own."""
    import dataclasses

    cls = type(s)
    names = [name for (name, _), made in _STORAGE_CONSTRUCTORS.items() if made is cls]
    if not names or not dataclasses.is_dataclass(cls):
        raise ValueError(
            f"Cannot convert storage of type {cls.__name__!r} to config; give it a method to_config"
        )
    return {"type": names[0], **_asdict_init_only(s)}


def cache_from_config(d: dict[str, Any] | list[dict[str, Any]]) -> BaseCache:
    """Build a cache from a config dict or list, which is not changed.

    Args:
        d: Its shape says what is built:

            - a list: a `CacheStack` of its elements
            - `"values"` and `"calls"`, each the dict of a storage: a `Cache`; with `max_size` a
              `SizeLimitedCache`; with another limit, or `evict`, a `BoundedCache`
            - `"template"` and its arguments: the same, spelled shorter
            - `read_only: true` besides either: wrapped in a `ReadOnlyCache`
            - `once: true` besides either: of all who want a call at once, one computes it
            - `"pool"`, a list: a `CachePool` of its elements
            - `"local"` and `"remote"`, each a cache: a `TieredCache`; also `queue`, `on_failure`
            - `"type": "ssh"` and `"host"`: an `SshCache`

    Raises:
        ValueError: A key is missing, unknown or has a value of the wrong type; the message says
            where.
        ImportError: A package that a storage needs is not installed.

    Examples
    --------
    >>> c = cache_from_config({"values": {"type": "memory"}, "calls": {"type": "memory"}})
    >>> type(c).__name__
    'Cache'

    >>> c = cache_from_config({"values": {"type": "memory"}, "calls": {"type": "memory"}, "max_size": 100})
    >>> isinstance(c, caches.SizeLimitedCache)
    True

    >>> c = cache_from_config({"values": {"type": "memory"}, "calls": {"type": "memory"}, "read_only": True})
    >>> isinstance(c, caches.ReadOnlyCache)
    True

    >>> c = cache_from_config([{"values": {"type": "memory"}, "calls": {"type": "memory"}}, {"values": {"type": "void"}, "calls": {"type": "void"}}])
    >>> isinstance(c, caches.CacheStack)
    True
    """  # noqa: E501
    if isinstance(d, (list, tuple)):
        return caches.CacheStack(_caches_from_configs(d))
    if not isinstance(d, Mapping):
        raise ValueError(f"expected a cache's table or a list of them, not a {type(d).__name__}")
    if "pool" in d:
        keys.check(d, keys.POOL, "a cache pool")
        with keys.at("pool"):
            return caches.CachePool(_caches_from_configs(d["pool"]))
    if "local" in d or "remote" in d:
        keys.check(d, keys.TIERED, "a local cache over a remote one")
        members = _caches_from_configs([d["local"], d["remote"]], ("local", "remote"))
        settings = {key: value for key, value in d.items() if key not in ("local", "remote")}
        return caches.TieredCache(members, **settings)
    if "type" in d:
        return ssh_cache(d)
    if "template" in d:
        return cache_from_config(expand_template(d))
    keys.check(d, keys.CACHE, "a cache")
    with keys.at("values"):
        values = storage_from_config(d["values"], "value")
    with keys.at("calls"):
        calls = storage_from_config(d["calls"], "call")
    cache = limited(values, calls, d)
    if d.get("once", False):
        # No field: it does not say which cache it is.
        vars(cache)["_once"] = True
    if d.get("read_only", False):
        # Nothing is written for it: not which calls were hits, either.
        vars(cache).pop("_uses", None)
        return caches.ReadOnlyCache(cache)
    return cache


def _caches_from_configs(
    configs: list[Any] | tuple[Any, ...], names: tuple[str, ...] = ()
) -> tuple[BaseCache, ...]:
    members = []
    names = names or tuple(f"entry {place}" for place in range(1, len(configs) + 1))
    # One that is out of reach is passed over when it is used, and may come back.
    token = OPENED_LATER.set(True)
    try:
        for name, config in zip(names, configs, strict=True):
            with keys.at(name):
                members.append(cache_from_config(config))
    finally:
        OPENED_LATER.reset(token)
    for place, member in enumerate(members):
        for before, other in enumerate(members[:place]):
            problem = mixed_up(other, member)
            if problem is not None:
                raise ValueError(f"{names[before]} and {names[place]}: {problem}")
    return tuple(members)


def cache_to_config(c: BaseCache) -> dict[str, Any] | list[dict[str, Any]]:
    """Convert a cache to a config dict or list, the inverse of `cache_from_config`.

    Raises:
        ValueError: The cache, or something in it, has no form in a config: wrappers such as
            `FilteredCache`, classes of one's own, a `ReadOnlyCache` around anything but a
            `Cache` or `SizeLimitedCache`.

    >>> from fleche.config import cache_from_config, cache_to_config
    >>> config = [{"values": {"type": "memory", "remaining_depth": 0}, "calls": {"type": "memory"}}]
    >>> cache_to_config(cache_from_config(config)) == config
    True
    """
    # Exact types: what a subclass does differently has no place in a config.
    if type(c) is caches.CacheStack:
        return [_nested_config(member) for member in c.stack]
    if type(c) is caches.TieredCache:
        members = {"local": _nested_config(c.local), "remote": _nested_config(c.far)}
        return members | non_default_fields(c, ["queue", "on_failure"])
    if type(c) is caches.CachePool:
        return {"pool": [_nested_config(member) for member in c.caches]}
    if type(c) is caches.ReadOnlyCache:
        if type(c.cache) not in _PAIRS:
            raise ValueError(
                f"ReadOnlyCache wrapping {type(c.cache).__name__!r} cannot be serialised to config"
            )
        return {**_nested_config(c.cache), "read_only": True}
    if isinstance(c, caches.Cache) and type(c) in _PAIRS:
        config: dict[str, Any] = {
            "values": storage_to_config(c.values),
            "calls": storage_to_config(c.calls),
        }
        config |= limits_of(c)
        if c._once:
            config["once"] = True
        if config.keys() & keys.LIMITS:
            with keys.at(f"Cannot convert cache of type {type(c).__name__!r} to config"):
                keys.check(config, keys.CACHE, "a cache")
        return config
    cls = type(c)
    if (cls.__module__, cls.__name__) == ("fleche.remote", "SshCache"):
        return {"type": "ssh", **non_default_fields(c, keys.SSH)}
    raise ValueError(f"Cannot convert cache of type {cls.__name__!r} to config")


def _nested_config(c: BaseCache) -> Any:
    """As `cache_to_config`, typed for putting one into another."""
    return cache_to_config(c)


def _default_memory_cache(
    name: str | None, reason: str | None = None, *, level: int = logging.INFO
) -> Cache:
    """Return the memory cache that stands in for `name`, a new one the first time.

    Args:
        name: The name that was asked for, `None` for the default.
        reason: Why there is no other; logged if given.
        level: How loud that is said.

    >>> from fleche.config import _default_memory_cache, _live_caches
    >>> cache = _default_memory_cache("doctest")
    >>> cache is _default_memory_cache("doctest") is _live_caches.pop("doctest")
    True
    """
    if reason is not None:
        logger.log(level, "Using default memory cache: %s", reason)
    live = _live_caches.get(name)
    if live is None:
        memory = cache_from_config({"values": {"type": "memory"}, "calls": {"type": "memory"}})
        # Of two threads that load at once, the first decides.
        live = _live_caches.setdefault(name, memory)
    return cast("Cache", live)


def load_cache_config(name: str | None = None) -> BaseCache:
    """Load a cache from the configuration files; the same name gives the same cache.

    Args:
        name: A section of the files. `None` and `"default"`: the one that `[default] cache`
            names or holds. `"memory"` and `"void"`: caches that need no file and keep nothing
            beyond the process. An unknown name, or no default: a memory cache, and a log message
            that says so.

    Raises:
        ValueError: The section is no valid cache; the message names the file and the section.
        ImportError: A package that a storage needs is not installed.

    Note: `Tags` metadata cannot be configured, only set by `fleche.tags`.

    >>> from fleche.config import load_cache_config
    >>> load_cache_config("memory") is load_cache_config("memory")
    True
    """
    live = _live_caches.get(name)
    if live is not None:
        return live
    if name == "default":
        cache = load_cache_config(None)
    elif name in ("memory", "void"):
        cache = cache_from_config({"values": {"type": name}, "calls": {"type": name}})
    else:
        config = _load_merged_config()
        if not config:
            asked = "" if name is None else f" (name={name!r})"
            return _default_memory_cache(name, f"no config file found{asked}")
        if name is None:
            return _load_default_cache(config)
        if name not in config:
            near = keys.suggestion(name, config.keys() - {"default"})
            reason = f"cache {name!r} not found in configuration. {near}"
            # Results that are to be kept are going to be lost: a slip, where there is a file.
            return _default_memory_cache(name, reason, level=logging.WARNING)
        with _in_section(name):
            cache = cache_from_config(config[name])
    return _live_caches.setdefault(name, cache)


def _load_default_cache(config: dict[str, Any]) -> BaseCache:
    chosen = _default_section(config).get("cache")
    if chosen is None:
        mistyped = keys.mistyped_default(config)
        if mistyped is None:
            return _default_memory_cache(None, "no default cache configured")
        reason = f"no default cache configured. Should section [{mistyped}] be [default]?"
        return _default_memory_cache(None, reason, level=logging.WARNING)
    if chosen == "default":
        with _in_section("default"):
            raise ValueError("cache: 'default' names itself; name another section")
    if isinstance(chosen, str):
        cache = load_cache_config(chosen)
    else:
        with _in_section("default"), keys.at("cache"):
            cache = cache_from_config(chosen)
    return _live_caches.setdefault(None, cache)
