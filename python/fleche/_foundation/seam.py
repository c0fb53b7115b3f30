"""What a lower floor looks up in an upper one, by name: the one way upwards.

Floors import downwards only. A few things at the bottom want something from above: a `Digest`
expands itself in the active cache, which the configuration makes, which builds storages of
digests. Each of these is a slot here. `fleche/__init__.py` fills them with the places of what is
meant, and nothing is imported before somebody asks.

>>> from fleche._foundation import seam
>>> seam.look_up("active_cache").__name__
'get_cache'
"""

from __future__ import annotations

import importlib
from typing import Any, Literal, TypeAlias

__all__ = ["Slot", "fill", "look_up"]

Slot: TypeAlias = Literal[
    "active_cache",  # () -> BaseCache
    "cache_from_config",  # (config) -> BaseCache
    "content_of",  # (value) -> what it is told by, and what is in it
    "default_metadata",  # () -> tuple of MetaData
    "default_section",  # () -> the table [default] of the configuration in force
    "evicted",  # (cache, key): a call was removed
    "filtered_cache",  # the class FilteredCache
    "html_of_cache",  # (cache) -> what notebooks show of it
    "inputs_of_call",  # (call) -> by argument, the calls that made it
    "lineage_of_call",  # (call, depth, outputs) -> Lineage
    "load_cache_config",  # (name) -> BaseCache
    "outputs_of_call",  # (call) -> the calls that took its result
    "read_only_cache",  # the class ReadOnlyCache
    "ssh_cache",  # the class SshCache
    "stack_of_caches",  # the class CacheStack
    "sweep",  # the class Sweep
]

_places: dict[Slot, tuple[str, str]] = {}


def fill(places: dict[Slot, tuple[str, str]]) -> None:
    """Say where each slot's object is: the module, and its name there."""
    _places.update(places)


def look_up(slot: Slot) -> Any:
    """What fills a slot; its module is imported if it is not yet."""
    module, name = _places[slot]
    return getattr(importlib.import_module(module), name)
