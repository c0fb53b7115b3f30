"""From the name of a storage's or cache's type in a configuration to what builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from fleche._foundation import seam
from fleche.config import keys
from fleche.storage.base import _STORAGE_CONSTRUCTORS, get_storage_constructor

if TYPE_CHECKING:
    from fleche.caches import BaseCache


def is_built_in(name: object, kind: str) -> bool:
    """Whether `name` is one of ours and nobody registered a storage of their own under it."""
    if not isinstance(name, str) or name not in keys.STORAGES[kind]:
        return False
    registered = _STORAGE_CONSTRUCTORS.get((name, kind))
    # Of a `functools.partial`, the function that it calls says whose it is.
    made_by = getattr(registered, "func", registered)
    return registered is None or getattr(made_by, "__module__", "").startswith("fleche.")


def storage_types(kind: str) -> set[str]:
    """The names that a storage of this kind may have, ours and registered ones."""
    registered = {name for name, registered_for in _STORAGE_CONSTRUCTORS if registered_for == kind}
    return registered | keys.STORAGES[kind].keys()


def storage_constructor(name: object, kind: Literal["call", "value"]) -> Callable[..., Any]:
    """What builds the storage type `name`.

    Raises:
        ValueError: There is no such type, or not in this version.
    """
    if not isinstance(name, str) or name not in storage_types(kind):
        message = f"Unknown storage type {name!r} for {kind} storage!"
        if name in list(storage_types("call" if kind == "value" else "value")):
            message += f" It is for {'calls' if kind == 'value' else 'values'} only."
        raise ValueError(f"{message} {keys.suggestion(name, storage_types(kind))}")
    constructor = None
    try:
        constructor = get_storage_constructor(name, kind)
    except ModuleNotFoundError as error:
        # A package of somebody else that is missing is the user's to install.
        if error.name is None or not error.name.startswith("fleche."):
            raise
    if constructor is None:
        raise ValueError(f"storage type {name!r} is not available yet in this version of fleche")
    return constructor


def ssh_cache(d: Mapping[str, Any]) -> BaseCache:
    """The `SshCache` that a table with a `type` describes.

    Raises:
        ValueError: The type is another one, or the keys do not fit.
    """
    settings = dict(d)
    kind = settings.pop("type")
    if kind != "ssh":
        raise ValueError(
            f"unknown cache type {kind!r}: only 'ssh' is one; the types of storages stand in "
            f"the tables 'values' and 'calls'"
        )
    keys.check(settings, keys.SSH, "cache type 'ssh'")
    try:
        return cast("BaseCache", seam.look_up("ssh_cache")(**settings))
    except ValueError as error:
        raise ValueError(f"cache type 'ssh': {error}") from None
