"""What a section of a configuration means, in a sentence; what is secret in it, hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["hidden", "sentence"]

_STORED = {
    "memory": "in memory, for the life of the process",
    "void": "nowhere",
    "pickle": "in files written by pickle",
    "cloudpickle": "in files written by cloudpickle",
    "dill": "in files written by dill",
    "cbor": "in files of CBOR",
    "bagofholding_hdf": "in HDF5 files",
    "sql": "in a database",
    "sqlite": "in a database, large ones in files beside it",
}


def sentence(config: Any) -> str:
    """What a cache of this configuration is.

    >>> sentence({"template": "memory", "max_size": 9})
    'values in memory, for the life of the process; calls there, too; the oldest calls go once there are more than 9'
    >>> sentence([{"template": "memory"}, {"template": "pickle", "root": "/data"}])
    'a stack of 2: calls are saved to the first, looked up in each in turn, and copied to the first when found'
    """  # noqa: E501
    if isinstance(config, list):
        return (
            f"a stack of {len(config)}: calls are saved to the first, looked up in each in turn, "
            f"and copied to the first when found"
        )
    if not isinstance(config, Mapping):
        return "no cache: a table or a list of tables is expected"
    if "pool" in config:
        number = len(config["pool"]) if isinstance(config["pool"], list) else 0
        return f"a pool of {number}: calls are looked up in each in turn, and never saved"
    if "type" in config:
        named = config.get("cache_name")
        which = "its default cache" if named is None else f"its cache {named!r}"
        return f"{which} of the machine {config.get('host')!r}, reached over ssh"
    return "; ".join([*_stored(config), *_limits(config)])


def _stored(config: Mapping[str, Any]) -> list[str]:
    if "template" in config:
        from fleche.config.forms import expand_template

        try:
            config = expand_template(config)
        except ValueError:
            return [f"a cache by the template {config['template']!r}"]
    values, calls = config.get("values"), config.get("calls")
    said = [f"values {_place(values)}"]
    if _place(values) == _place(calls):
        return [*said, "calls there, too"]
    return [*said, f"calls {_place(calls)}"]


def _place(storage: Any) -> str:
    if not isinstance(storage, Mapping):
        return "nobody knows where"
    kind = storage.get("type")
    text = _STORED.get(str(kind), f"in a storage of type {kind!r}")
    place = storage.get("root", storage.get("url"))
    return text if place is None else f"{text} ({hidden({'url': str(place)})['url']})"


_FIRST = {
    "oldest": "the oldest calls",
    "lru": "the calls used longest ago",
    "lfu": "the calls used least often",
    "cheapest": "the calls that take least to compute again, per byte,",
}


def _limits(config: Mapping[str, Any]) -> list[str]:
    said = []
    first = _FIRST.get(config.get("evict", "oldest"), "calls")
    if config.get("max_size") is not None:
        said.append(f"{first} go once there are more than {config['max_size']}")
    if config.get("max_bytes") is not None:
        said.append(f"{first} go once all take more than {config['max_bytes']} (bytes)")
    if config.get("max_age") is not None:
        said.append(f"calls go that are older than {config['max_age']} (seconds)")
    if config.get("functions"):
        said.append(f"limits of its own for {', '.join(map(str, config['functions']))}")
    if config.get("keep_records"):
        said.append("records stay when their values go")
    if config.get("read_only"):
        said.append("never saved to")
    if config.get("once"):
        said.append("of all who want a call at the same time, one computes it")
    return said


def hidden(config: Any) -> Any:
    """A configuration without what is secret in it.

    >>> hidden({"secret_key": ["00ff"], "url": "postgresql://me:word@host/db"})
    {'secret_key': '(hidden)', 'url': 'postgresql://me:***@host/db'}
    """
    from fleche.storage.urls import without_password

    if isinstance(config, Mapping):
        return {
            key: "(hidden)" if key == "secret_key" else hidden(held) for key, held in config.items()
        }
    if isinstance(config, list):
        return [hidden(each) for each in config]
    if isinstance(config, str) and "://" in config:
        return without_password(config)
    return config
