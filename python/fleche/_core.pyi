"""The compiled core. Private: what users need is re-exported by the modules beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from fleche.digest import Digest, Hook

__all__ = [
    "SHORTEST_PREFIX",
    "VERSION",
    "CachedFunction",
    "Signature",
    "add_hook",
    "child_digests",
    "config_paths",
    "digest",
    "digest_class",
    "get_hooks",
    "independent",
    "intern_value",
    "load_value",
    "lookup_key",
    "manual_hooks",
    "mend",
    "merge_configs",
    "read_config",
    "record_digest",
    "record_of_fields",
    "resolve_prefix",
    "save_value",
    "scheme",
    "set_entry_point_hooks",
    "set_manual_hooks",
    "set_scheme",
    "shrink_keys",
]

SHORTEST_PREFIX: Final[int]
VERSION: Final[str]

# Digests

def digest(value: Any, *, typed: bool = False, scheme: str | None = None) -> Digest: ...
def digest_class(class_: type, /) -> Digest: ...
def record_of_fields(cls: type, fields: Mapping[str, Any]) -> Digest: ...
def scheme() -> str: ...
def set_scheme(name: str | None) -> None: ...
def add_hook(hook: Hook[Any]) -> None: ...
def get_hooks() -> list[Hook[Any]]: ...
def manual_hooks() -> list[Hook[Any]]: ...
def set_manual_hooks(hooks: Sequence[Hook[Any]]) -> None: ...
def set_entry_point_hooks(hooks: Sequence[Hook[Any]]) -> None: ...

# Keys

def resolve_prefix(key: str, candidates: Iterable[str]) -> Digest: ...
def shrink_keys(keys: Iterable[str], every: Iterable[str]) -> tuple[Digest, ...]: ...
def lookup_key(call: Any, arguments: Mapping[str, Any], typed: bool = False) -> Digest: ...
def record_digest(call: Any, arguments: Mapping[str, Any], result: Any) -> Digest: ...

# Calls

@final
class Signature:
    def __new__(cls, parameters: Any) -> Signature: ...
    def bind(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        apply_defaults: bool = False,
        partial: bool = False,
    ) -> dict[str, Any] | None: ...

@final
class CachedFunction:
    def __new__(
        cls,
        *,
        function: Callable[..., Any],
        signature: Signature,
        ignored: Sequence[str],
        required: Sequence[str],
        typed: bool,
        identify: Callable[[], Any],
        on_miss: Callable[..., Any],
        on_uncached: Callable[..., Any],
    ) -> CachedFunction: ...
    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Digest: ...

# Storages

def child_digests(stored: Any) -> set[Digest]: ...
def independent(value: Any) -> Any: ...
def intern_value(storage: Any, value: Any, remaining_depth: float) -> tuple[Any, float]: ...
def load_value(storage: Any, key: str) -> Any: ...
def mend(storage: Any, stored: Any) -> Any: ...
def save_value(storage: Any, value: Any, key: str | None, remaining_depth: float) -> Digest: ...

# Configuration

def config_paths() -> list[Path]: ...
def merge_configs(layers: Sequence[dict[str, Any]]) -> dict[str, Any]: ...
def read_config(path: Path) -> dict[str, Any]: ...
