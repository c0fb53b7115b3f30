"""Every key that a configuration may hold, what its value must be, and how a mistake is told.

The tables here are the one list of keys: `fleche.config` checks against them before it builds
anything, and `docs/configuration.md` describes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fleche.caches.bounds.limits import POLICIES, bytes_of, seconds_of
from fleche.storage.bags import VERSION_VALIDATORS


@dataclass(frozen=True)
class Key:
    """What a key's value must be, in words and as a test."""

    expected: str
    fits: Callable[[Any], bool]
    required: bool = False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _is_secret_key(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (str, bytes)) for item in value)
    return isinstance(value, (str, bytes))


SERIALIZERS = ("pickle", "cloudpickle", "dill", "cbor")

_TEXT = Key("a string", lambda v: isinstance(v, str))
_FLAG = Key("true or false", lambda v: isinstance(v, bool))
_SECONDS = Key("a number of seconds", lambda v: _is_int(v) or (isinstance(v, float) and v == v))
_STRINGS = Key("a list of strings", _is_strings)
_DEPTH = Key("an integer", _is_int)
_ROOT = Key("the path of a folder", lambda v: isinstance(v, (str, os.PathLike)), required=True)

_PICKLE = {
    "root": _ROOT,
    "compress": Key(
        "true, false, 'gzip' or 'zstd'", lambda v: isinstance(v, bool) or v in ("gzip", "zstd")
    ),
    "compress_level": Key("an integer", lambda v: v is None or _is_int(v)),
    "lock_timeout": _SECONDS,
    "secret_key": Key("a list of hex strings", _is_secret_key),
}
_CBOR = _PICKLE | {
    "allow": _STRINGS,
    "fallback": Key("'pickle'", lambda v: v is None or v == "pickle"),
}
_BAG = {
    "root": _ROOT,
    "lock_timeout": _SECONDS,
    "version_validator": Key(
        "one of " + ", ".join(map(repr, VERSION_VALIDATORS)),
        lambda v: v is None or v in VERSION_VALIDATORS,
    ),
    "prefix_length": Key("an integer", lambda v: v is None or _is_int(v)),
}
_SQL = {
    "url": Key("a database URL", lambda v: isinstance(v, (str, os.PathLike)), required=True),
    "echo": _FLAG,
    "lock_timeout": _SECONDS,
}

_BUCKET = {
    "url": Key("the URL of a bucket", lambda v: isinstance(v, str), required=True),
    "endpoint": _TEXT,
    "region": _TEXT,
    "profile": _TEXT,
    "account": _TEXT,
    "anonymous": _FLAG,
    "timeout": _SECONDS,
    "secret_key": _PICKLE["secret_key"],
    "serializer": _TEXT,
    "compress": _PICKLE["compress"],
    "compress_level": _PICKLE["compress_level"],
}
_BUCKET_CALLS = {"mirror": _TEXT, "lease": _SECONDS}
_REMAINING_DEPTH = {"remaining_depth": _DEPTH}
_PICKLED_VALUES = _REMAINING_DEPTH | {"mmap": _FLAG}

# A file of this storage is beside its database.
_SQLITE = {key: held for key, held in _CBOR.items() if key != "root"} | {
    "url": Key("the path of a file", lambda v: isinstance(v, (str, os.PathLike)), required=True),
    "serializer": Key("one of " + ", ".join(map(repr, SERIALIZERS)), lambda v: v in SERIALIZERS),
}

STORAGES: dict[str, dict[str, dict[str, Key]]] = {
    "value": {
        "memory": _REMAINING_DEPTH,
        "void": {},
        "pickle": _PICKLE | _PICKLED_VALUES,
        "cloudpickle": _PICKLE | _PICKLED_VALUES,
        "dill": _PICKLE | _PICKLED_VALUES,
        "cbor": _CBOR | _REMAINING_DEPTH,
        "bagofholding_hdf": _BAG | _REMAINING_DEPTH,
        "bucket": _BUCKET | _REMAINING_DEPTH,
        "sqlite": _SQLITE | _PICKLED_VALUES,
    },
    "call": {
        "memory": {},
        "void": {},
        "pickle": _PICKLE,
        "cloudpickle": _PICKLE,
        "dill": _PICKLE,
        "bagofholding_hdf": _BAG,
        "sql": _SQL,
        "bucket": _BUCKET | _BUCKET_CALLS,
    },
}
"""By kind of storage and `type`: the keys besides `type`."""


def _is_read_by(read: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            read(value)
        except ValueError:
            return False
        return True

    return lambda value: value is None or fits(value)


BOUNDS = {
    "max_bytes": Key("a number of bytes, as 200000 or '200GB'", _is_read_by(bytes_of)),
    "max_age": Key("a time, as 3600 (seconds) or '90d'", _is_read_by(seconds_of)),
    "max_size": Key("an integer of at least 1", lambda v: v is None or (_is_int(v) and v >= 1)),
}
"""What a cache may be limited to, and what it holds of a function."""

LIMITS = {
    **BOUNDS,
    "evict": Key("one of " + ", ".join(map(repr, POLICIES)), lambda v: v in POLICIES),
    "keep_records": _FLAG,
    "functions": Key("a table of functions", lambda v: isinstance(v, Mapping)),
    "read_only": _FLAG,
    "once": _FLAG,
}
"""The keys that every cache of one pair of storages may have, written out or from a template."""

_STORAGE = Key("a table with a 'type'", lambda v: isinstance(v, Mapping), required=True)
CACHE = {"values": _STORAGE, "calls": _STORAGE} | LIMITS
POOL = {"pool": Key("a list of caches", lambda v: isinstance(v, (list, tuple)), required=True)}
_MEMBER = Key("a cache's table", lambda v: isinstance(v, Mapping), required=True)
TIERED = {
    "local": _MEMBER,
    "remote": _MEMBER,
    "queue": Key("an integer of at least 1", lambda v: _is_int(v) and v >= 1),
    "on_failure": Key("'warn' or 'raise'", lambda v: v in ("warn", "raise")),
}
SSH = {
    "host": Key("a string", lambda v: isinstance(v, str), required=True),
    "cache_name": _TEXT,
    "python": _TEXT,
    "ssh_options": _STRINGS,
    "setup_commands": _STRINGS,
    "workdir": _TEXT,
}
TEMPLATES: dict[str, dict[str, Key]] = {
    "memory": {},
    "pickle": {"root": _ROOT},
    "cloudpickle": {"root": _ROOT},
    "dill": {"root": _ROOT},
    "cbor": {"root": _ROOT, **{key: _CBOR[key] for key in ("allow", "fallback", "secret_key")}},
    "bagofholding_hdf": {"root": _ROOT},
    "sql": {"root": _ROOT, "values": _TEXT, "url": _TEXT},
    "bucket": _BUCKET | _BUCKET_CALLS | _REMAINING_DEPTH,
    "sqlite": {key: held for key, held in (_SQLITE | _PICKLED_VALUES).items() if key != "url"}
    | {"root": _ROOT},
}
"""By `template`: the keys besides `template` and those of `LIMITS`."""

DIGEST_SCHEMES = ("exact", "sha256")
DEFAULT = {
    "cache": Key(
        "the name of a section, or a cache's table or list",
        lambda v: isinstance(v, (str, Mapping, list, tuple)),
    ),
    "metadata": Key("a list of names", _is_strings),
    "strict": Key("true or false", lambda v: isinstance(v, bool)),
    "none": Key("true or false", lambda v: isinstance(v, bool)),
    "exceptions": Key("a list of names", _is_strings),
    "digest": Key("one of " + ", ".join(map(repr, DIGEST_SCHEMES)), lambda v: v in DIGEST_SCHEMES),
    "root": _FLAG,
    "statistics": _FLAG,
}
"""The keys of the section `[default]`."""


def check(settings: Mapping[str, Any], keys: Mapping[str, Key], what: str) -> None:
    """Compare a table with the keys that it may hold.

    Args:
        settings: The table.
        keys: Its keys.
        what: What the table describes, for the error: "storage type 'pickle'".

    Raises:
        ValueError: A key is missing, unknown, or its value is none that fits. Values are not
            shown, as one of them may be secret.
    """
    for name in settings:
        if name not in keys:
            raise ValueError(f"unknown key {name!r} for {what}. {suggestion(name, keys)}")
    for name, key in keys.items():
        if name not in settings:
            if key.required:
                raise ValueError(f"missing key {name!r} for {what}: {key.expected}")
        elif not key.fits(settings[name]):
            given = type(settings[name]).__name__
            raise ValueError(f"key {name!r} of {what} must be {key.expected}, not this {given}")


def suggestion(name: object, valid: Iterable[str]) -> str:
    """What to write instead of an unknown name: the nearest valid one, and all of them."""
    names = sorted(valid)
    if not names:
        return "It takes none"
    listed = f"Valid are {', '.join(map(repr, names))}"
    if isinstance(name, str):
        from difflib import get_close_matches

        near = get_close_matches(name, names, n=1)
        if near:
            return f"Did you mean {near[0]!r}? {listed}"
    return listed


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put `place` before the message of a `ValueError` that is raised inside."""
    try:
        yield
    except ValueError as error:
        if type(error) is not ValueError:  # others make their text from more than one string
            raise ValueError(f"{place}: {error}") from error
        error.args = (f"{place}: {error}",)
        raise


def mistyped_default(config: Mapping[str, Any]) -> str | None:
    """A section that could only be `[default]`, by its keys and nearly by its name."""
    if "default" in config:
        return None
    from difflib import get_close_matches

    for name, section in config.items():
        near = get_close_matches(name.lower(), ["default"], cutoff=0.75)
        if near and isinstance(section, Mapping) and section and section.keys() <= DEFAULT.keys():
            return name
    return None
