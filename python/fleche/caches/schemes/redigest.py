"""Moving the calls of a store to the digest scheme in force."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.call import DigestedCall
from fleche.digest import Digest, Indigestible, digest
from fleche.query.filed import other_keys
from fleche.storage.base import SaveError

if TYPE_CHECKING:
    from fleche.caches.pair import Cache

logger = logging.getLogger("fleche.cache")


class _Stays(Exception):
    """A record cannot be moved; says why."""


def redigest(cache: Cache) -> None:
    """File every call under its key in the scheme in force; see `Cache.redigest`."""
    scheme = _core.scheme()
    by_age = getattr(cache.calls, "_list_by_age", cache.calls.list)
    moved = stays = 0
    failure: SaveError | None = None
    # The oldest first, so that it is still the oldest afterwards.
    for key in list(by_age()):
        try:
            moved += _move(cache, key)
        except _Stays as reason:
            stays += 1
            logger.info("Call %s stays under the key that it has: %s", key, reason)
        except SaveError as error:
            stays += 1
            failure = failure or error
    if not stays:
        try:
            cache.calls._hold_only_scheme()
        except OSError as error:
            logger.warning("Cannot note that all calls are of scheme %s: %s", scheme, error)
    logger.log(
        logging.WARNING if stays else logging.INFO,
        "Redigested: %d calls moved to scheme %s, %d stay where they are",
        *(moved, scheme, stays),
    )
    if failure is not None:
        raise failure


def _move(cache: Cache, key: Digest) -> bool:
    """File a call anew; whether it had another key."""
    calls = cache.calls
    with cache._operation_context(key):
        try:
            record = calls.load(key)
        except KeyError as error:
            if not calls.contains(key):
                return False
            raise _Stays(f"its record cannot be read ({error})") from error
        if record.to_lookup_key() == key:
            return False
        try:
            _refile(cache, key, record)
        except Indigestible as error:
            raise _Stays(f"a value of it has no digest ({error})") from error
        # Last, so that who reads meanwhile finds one of the two.
        calls.evict(key)
        return True


def _refile(cache: Cache, key: Digest, record: DigestedCall) -> None:
    # A collection of garbage finds neither values without their record nor the other way round.
    with cache.values._collection.saving():
        cache._note_user()
        renewed = _renewed(cache, key, record)
        new_key = renewed.to_lookup_key()
        if new_key == key:
            return
        with cache._operation_context(new_key):
            try:
                cache.calls.load(new_key)
            except KeyError:
                cache.calls.save(renewed)


def _renewed(cache: Cache, key: Digest, record: DigestedCall) -> DigestedCall:
    """The record with the digests that its values have today, under which they are saved, too."""
    foreign = key in other_keys(record)
    values, arguments, missing = cache.values, dict(record.arguments), []
    for name, held in record.arguments.items():
        try:
            value = values.load(_core.storage_key(held))
        except KeyError:
            missing.append(name)
            continue
        today = digest(value)
        if held not in (today, digest(value, typed=True)):
            foreign = True
            arguments[name] = today
            key = _core.storage_key(today)
            if not _is_there(cache, value, key):
                values.save(value, key)
    if not foreign:
        return record
    if missing:
        raise _Stays(f"the value of argument {missing[0]!r} is not stored")
    if record.code_digest is not None:
        raise _Stays("the digest of its function's code cannot be computed anew")
    return DigestedCall(
        name=record.name,
        arguments=arguments,
        result=_renewed_result(cache, record.result),
        metadata=record.metadata,
        module=record.module,
        version=record.version,
        code_digest=record.code_digest,
    )


def _renewed_result(cache: Cache, held: Any) -> Any:
    if held is None:
        return None
    try:
        result = cache.values.load(held)
    except KeyError:
        # A record without its value is a miss, wherever it is.
        return held
    today = _core.result_digest(result)
    if today == held:
        return held
    _is_there(cache, result, today)
    return cache.values.save(result, today)


def _is_there(cache: Cache, value: Any, today: Digest) -> bool:
    """Whether a value is stored under its digest of today.

    Raises:
        _Stays: if another one is: they share it in this scheme.
    """
    try:
        stored = cache.values.load(today)
    except KeyError:
        return False
    if _core.digest(stored, scheme="exact") != _core.digest(value, scheme="exact"):
        raise _Stays(f"another value has the digest {today} in this scheme")
    return True
