"""Calls that were recorded before a refactoring.

`@fleche(was=..., added=..., renamed=...)` finds them, `fleche.rename` moves them once and for all.
The key of a call says which function was called with what. Of a function that had another name, or
other parameters, the key that a call would have had then is computed, and looked for; the record
there is the very call, as its own key shows. It is filed anew, and its values stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleche._foundation.log import logger_of
from fleche.call import Call, DigestedCall, QueryCall
from fleche.call.outcomes import stored_result
from fleche.digest import Digest, Indigestible, digest
from fleche.state import get_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleche.caches import BaseCache

__all__ = ["Moves", "names_of_function", "rename"]

logger = logger_of("fleche")


def names_of_function(text: str, module: str | None) -> Iterator[tuple[str | None, str]]:
    """What a dotted name may mean: pairs of a module and a name within it.

    Args:
        text: `"package.module.function"`, or a name in the same module.
        module: the module of today; `None` where modules do not count.

    >>> list(names_of_function("a.b.f", "m"))
    [('a.b', 'f'), ('a', 'b.f'), ('m', 'a.b.f')]
    """
    if module is None:
        parts = text.split(".")
        for start in range(len(parts) - 1, -1, -1):
            yield None, ".".join(parts[start:])
        return
    parts = text.split(".")
    for end in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:end]), ".".join(parts[end:])
    yield module, text


@dataclass(frozen=True)
class Moves:
    """How a function was called before.

    Args:
        was: its names then, dotted; none: the one of today.
        added: parameters that it did not have, with what it computed with then.
        renamed: parameters by the name that they had then.

    Raises:
        ValueError: if a parameter of today is none, or is meant twice.
    """

    was: tuple[str, ...]
    added: Mapping[str, Any]
    renamed: Mapping[str, str]

    def check(self, function: str, parameters: Iterable[str]) -> None:
        """See that they fit a function.

        Raises:
            ValueError: if they do not.
        """
        known = [*parameters]
        for option, names in (("added", [*self.added]), ("renamed", [*self.renamed.values()])):
            for name in names:
                if name not in known:
                    hint = ""
                    if option == "renamed" and any(old in known for old in self.renamed):
                        hint = '; write {"old": "new"}'
                    raise ValueError(
                        f"{option}: {function} has no parameter {name!r}; it has "
                        f"{', '.join(known) or 'none'}{hint}"
                    )
        both = {*self.added} & {*self.renamed.values()}
        if both:
            raise ValueError(f"{min(both)!r} cannot be both added and renamed")
        twice = [*self.renamed.values()]
        if len({*twice}) < len(twice):
            raise ValueError("renamed: two parameters became one")

    def records(self, call: Call, digests: Mapping[str, Digest]) -> Iterator[DigestedCall]:
        """The call as it may have been recorded then, without result and metadata.

        Args:
            call: the call of today.
            digests: those of its arguments.
        """
        typed = bool(call._typed)
        for name, value in self.added.items():
            if name in digests and digests[name] != digest(value, typed=typed):
                return
        then = {new: old for old, new in self.renamed.items()}
        held = {
            then.get(name, name): each for name, each in digests.items() if name not in self.added
        }
        named = [pair for text in self.was for pair in names_of_function(text, call.module)]
        for module, name in named or [(call.module, call.name)]:
            yield DigestedCall(name, held, None, {}, module, call.version, call.code_digest)

    def find(
        self,
        cache: BaseCache,
        call: Call,
        digests: dict[str, Digest],
        key: Digest,
        *,
        file: bool = True,
    ) -> Any:
        """The result of a call that was recorded before; `None` if none was.

        Args:
            cache: where to look.
            call: the call of today.
            digests: those of its arguments.
            key: its key.
            file: whether to file it anew.
        """
        try:
            records = [*self.records(call, digests)]
        except Indigestible as error:
            logger.warning("added: a value of %s has no digest (%s)", call.name, error)
            return None
        for record in records:
            old = record.to_lookup_key()
            try:
                found = cache.load(old)
                if found.to_lookup_key() != old:
                    continue
                result = stored_result(found)
            except KeyError:
                continue
            if result is None:
                continue
            if file:
                self._file(cache, call, digests, key, found.metadata, result)
                logger.info("The call %s of %s is %s of %s", old, found.name, key, call.name)
            return result
        return None

    @staticmethod
    def _file(
        cache: BaseCache,
        call: Call,
        digests: dict[str, Digest],
        key: Digest,
        metadata: Any,
        result: Any,
    ) -> None:
        call.metadata, call.result = metadata, result
        call.__dict__.update(_digests=digests, _returned_digest=True)
        try:
            with cache._operation_context(key):
                if not cache.contains(key):
                    cache.save(call)
        except Exception as error:
            # It was found, and that is what counts.
            logger.info("A call of %s is not filed anew: %s", call.name, error)


def rename(
    old: str,
    new: Callable[..., Any] | str,
    *,
    added: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] | None = None,
    cache: BaseCache | None = None,
) -> int:
    """Give the calls that a cache holds of a function another name, in place.

    Their values stay where they are. A call whose arguments do not fit the new function stays as it
    is, and a message says so; so does one that is there under its new name already.

    Args:
        old: the function's dotted name when they were recorded, such as `"package.module.f"`.
        new: the function, decorated or not; or its dotted name.
        added: parameters that it did not have, with what it computed with then.
        renamed: parameters: their new names by the old ones.
        cache: where; the active cache if not given.

    Returns:
        How many calls were renamed.

    Raises:
        ValueError: if `added` or `renamed` does not fit the function.
        TypeError: if the cache has no storages here: a remote one is changed where it is.
        Rejected: if it is read-only.

    >>> from fleche import cache, fleche
    >>> from fleche.config import cache_from_config
    >>> @fleche(hash_module=False, hash_code=False)
    ... def relax(n):
    ...     return 2 * n
    >>> @fleche(hash_module=False, hash_code=False)
    ... def minimise(steps, tolerance=0.1):
    ...     raise RuntimeError("computing")
    >>> with cache(cache_from_config({"template": "memory"})):
    ...     _ = relax(3)
    ...     rename("relax", minimise, added={"tolerance": 0.1}, renamed={"n": "steps"})
    ...     minimise(3)
    1
    6
    """
    from fleche.caches import Rejected
    from fleche.caches.garbage.places import pairs_of

    cache = get_cache() if cache is None else cache
    target = _Target.of(new)
    moves = Moves((old,), added or {}, renamed or {})
    if target.parameters is not None:
        moves.check(target.name, target.parameters)
    pairs = [*pairs_of(cache)]
    if not pairs:
        raise TypeError(
            f"a {type(cache).__name__} has no storages here: rename the calls where they are kept"
        )
    if not _is_writable(cache):
        raise Rejected("Cannot rename calls in a read-only cache", type(cache).__name__)
    return sum(_rename_in(pair, old, target, moves) for pair in pairs)


@dataclass(frozen=True)
class _Target:
    """What calls are renamed to."""

    name: str
    module: str | None
    parameters: list[str] | None = None
    version: Any = None
    code: Digest | None = None
    #: Whether version and code are those of a function.
    is_function: bool = False

    @classmethod
    def of(cls, new: Callable[..., Any] | str) -> _Target:
        if isinstance(new, str):
            module, _, name = new.rpartition(".")
            return cls(name, module or None)
        from fleche.wrapper import fleche

        decorated: Any = new if hasattr(new, "fleche") else fleche(new)
        calls = decorated.fleche.call._calls
        name, module, version, code = calls.core.identity()
        parameters = [each for each in calls.signature.parameters if each not in calls.ignored]
        return cls(name, module, parameters, version, code, True)

    def renamed(self, record: DigestedCall, arguments: dict[str, Any]) -> DigestedCall:
        """A record under the name that it is to have."""
        new = DigestedCall(
            self.name,
            arguments,
            record.result,
            record.metadata,
            self.module,
            self.version,
            self.code,
        )
        if not self.is_function:
            # Of the function nothing is known but its name.
            new.module = self.module or record.module
            new.version, new.code_digest = record.version, record.code_digest
        return new


def _is_writable(cache: Any) -> bool:
    from fleche.caches.views import ReadOnlyMixin

    return not isinstance(cache, ReadOnlyMixin)


def _rename_in(pair: Any, old: str, target: _Target, moves: Moves) -> int:
    count = 0
    values = moves.added.items()
    arguments = {name: pair.values.save(value, digest(value)) for name, value in values}
    for module, name in names_of_function(old, target.module):
        for found in [*pair.query(QueryCall(name, module=module))]:
            record = found.detach()
            held = {moves.renamed.get(key, key): each for key, each in record.arguments.items()}
            held = {**held, **arguments}
            parameters = target.parameters
            if parameters is not None and {*parameters} != {*held}:
                logger.warning(
                    "A call of %s stays as it is: it has the arguments %s, %s has %s",
                    *(record.name, ", ".join(held), target.name, ", ".join(parameters)),
                )
                continue
            ordered = held if parameters is None else {key: held[key] for key in parameters}
            new = target.renamed(record, ordered)
            key, old_key = new.to_lookup_key(), record.to_lookup_key()
            if key == old_key or pair.contains(key):
                continue
            # The new one first: whoever looks meanwhile finds one of the two.
            pair.save(new)
            pair.evict(old_key)
            count += 1
        if count:
            break
    return count
