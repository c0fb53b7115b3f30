"""Calls and their records: with live values, with digests, and with values loaded on demand."""

from __future__ import annotations

import copy
import logging
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.errors import SaveError
from fleche.call.outcomes import shown
from fleche.call.profile import FunctionProfile, Version, bind
from fleche.digest import Digest, digest

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.lineage import Lineage
    from fleche.storage import ValueStorage

logger = logging.getLogger("fleche.call")

Metadata: TypeAlias = dict[str, dict[str, Any]]


@dataclass
class Call:
    """A call with its live values.

    Args:
        name: the function's `__qualname__`.
        arguments: values by parameter, in the order of the parameters.
        metadata: by the metadata's name, JSON values only.
        module: the function's module.
        version: the function's version.
        code_digest: the digest of the function's code.
        result: what it returned; `None` while that is pending.

    >>> Call("f", {"x": 1}).to_lookup_key() == Call("f", {"x": 1.0}).to_lookup_key()
    True
    """

    name: str
    arguments: dict[str, Any]
    metadata: Metadata = field(default_factory=dict)
    module: str | None = None
    version: Version = None
    code_digest: str | None = None
    result: Any = None

    # Of calls that a decorated function made: whether arguments count by type and value, their
    # digests as far as they are known, and whether a `Digest` as result is what was returned
    # rather than the name of that.
    _typed: ClassVar[bool] = False
    _digests: ClassVar[dict[str, Digest] | None] = None
    # Where to note arguments that could not be stored, to be told later.
    _unsaved: ClassVar[list[str] | None] = None
    _returned_digest: ClassVar[bool] = False

    @classmethod
    def from_call(cls, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """The call `func(*args, **kwargs)`, with defaults applied and ignored arguments dropped.

        Args:
            func: the function, decorated or not; it is not run.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Raises:
            TypeError: if the arguments do not fit the function.
        """
        profile = FunctionProfile.of(func)
        arguments = profile.take_files(bind(func, args, kwargs, apply_defaults=True))
        profile.strip_for_key(arguments)
        return cls(
            name=profile.qualname,
            arguments=arguments,
            module=profile.module,
            version=profile.version,
            code_digest=profile.code_digest,
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Call | DigestedCall):
            return _fields(self) == _fields(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        """A table of it, in notebooks."""
        from fleche.call.notebook import html_of

        return html_of(self)

    def to_lookup_key(self) -> Digest:
        """The key of the call's record; metadata and result take no part.

        Raises:
            Indigestible: if an argument has no digest.
        """
        return _core.lookup_key(self, self._digests or self.arguments, self._typed)

    def digest(self) -> DigestedCall:
        """The record of the call; nothing is stored.

        Raises:
            Indigestible: if an argument or the result has no digest.
        """
        digests = self._digests
        if digests is None:
            typed = self._typed
            digests = {k: digest(v, typed=typed) for k, v in self.arguments.items()}
        result = self.result
        if result is not None and (type(result) is not Digest or self._returned_digest):
            result = _core.result_digest(result)
        return self._to_digested(digests, result)

    def stash(self, values: ValueStorage) -> DigestedCall:
        """Store arguments and result; gives the record that names them.

        An argument that cannot be stored is recorded by its digest alone, with a warning.

        Args:
            values: where to.

        Raises:
            Indigestible: if an argument or the result has no digest.
            SaveError: if the result cannot be stored.
        """
        result = None
        if self.result is not None:
            result = self._stash_result(values)
        digests = self._argument_digests()
        self._store_arguments(values, digests)
        return self._to_digested(digests, result)

    def _stash_result(self, values: ValueStorage) -> Digest:
        if type(self.result) is Digest and not self._returned_digest:
            return self.result
        return values.save(self.result, _core.result_digest(self.result))

    def _argument_digests(self) -> dict[str, Digest]:
        if self._digests is not None:
            return dict(self._digests)
        return {name: digest(value, typed=self._typed) for name, value in self.arguments.items()}

    def _store_arguments(self, values: ValueStorage, digests: dict[str, Digest]) -> None:
        for name, value in self.arguments.items():
            if type(value) is Digest:
                continue
            try:
                # Never over what is there: an equal argument, or the very content that the key
                # names, whereas an argument may have its digest by a rule of its own.
                key = _core.storage_key(digests[name])
                if not values._keeps(key):
                    values.save(value, key)
            except SaveError:
                if self._unsaved is None:
                    warn_of_unsaved_argument(name)
                else:
                    self._unsaved.append(name)

    def _to_digested(self, arguments: dict[str, Digest], result: Digest | None) -> DigestedCall:
        return DigestedCall(
            name=self.name,
            arguments=arguments,
            result=result,
            metadata=_copy_json(self.metadata),
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
        )

    def __digest__(self) -> Digest:
        return self.digest().__digest__()


@dataclass
class DigestedCall:
    """The record of a call: digests instead of values.

    Args:
        name: the function's `__qualname__`.
        arguments: digests by parameter, in the order of the parameters.
        result: the digest of the result; `None` while it is pending.
        metadata: by the metadata's name, JSON values only.
        module: the function's module.
        version: the function's version.
        code_digest: the digest of the function's code.

    >>> record = Call("f", {"x": 1}, result=2).digest()
    >>> from fleche.digest import digest
    >>> record.result == digest(2, typed=True)
    True
    """

    name: str
    arguments: dict[str, Digest]
    result: Digest | None = None
    metadata: Metadata = field(default_factory=dict)
    module: str | None = None
    version: Version = None
    code_digest: str | None = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Call | DigestedCall):
            return _fields(self) == _fields(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> DigestedCall:
        # Digests never change; what is left is cheap to copy without `copy`'s bookkeeping.
        metadata = _copy_json(self.metadata)
        return DigestedCall(
            self.name,
            dict(self.arguments),
            self.result,
            metadata,
            self.module,
            self.version,
            self.code_digest,
        )

    def to_lookup_key(self) -> Digest:
        """The key of the record; metadata and result take no part."""
        return _core.lookup_key(self, self.arguments)

    def _repr_html_(self) -> str:
        """A table of it, without values, in notebooks."""
        from fleche.call.notebook import html_of

        return html_of(self)

    def fetch(self, cache: BaseCache) -> LazyCall:
        """The call whose values are loaded from `cache` when they are looked at."""
        lazy = object.__new__(LazyCall)
        # Queries make many of these; the constructor of a frozen class takes three times as long.
        lazy.__dict__.update(
            name=self.name,
            _arguments=dict(self.arguments),
            _result=self.result,
            _cache=cache,
            metadata=_copy_json(self.metadata),
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
        )
        return lazy

    def __digest__(self) -> Digest:
        return _core.record_digest(self, self.arguments, self.result)


class LazyArguments(Mapping[str, Any]):
    """Arguments that are loaded from a cache when they are looked at.

    One whose value is not stored comes back as its `Digest`.
    """

    def __init__(self, cache: Any, arg_digests: dict[str, Any]) -> None:
        self._cache = cache
        self._arg_digests = arg_digests

    def __getitem__(self, key: str) -> Any:
        value = self._arg_digests[key]
        if not isinstance(value, Digest):
            return value
        try:
            return self._cache.load_value(_core.storage_key(value))
        except KeyError:
            return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arg_digests)

    def __len__(self) -> int:
        return len(self._arg_digests)

    def __repr__(self) -> str:
        return f"LazyArguments({self._arg_digests!r})"

    def __digest__(self) -> Digest:
        return digest(self._arg_digests)


@dataclass(frozen=True)
class LazyCall:
    """A stored call: its values are loaded from the cache when they are looked at.

    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> call = cache.load(cache.save(Call("square", {"x": 3}, result=9)))
    >>> call.name, call.arguments["x"], call.result
    ('square', 3, 9)
    >>> call.fetch() == Call("square", {"x": 3}, result=9)
    True
    """

    name: str
    _arguments: dict[str, Any]
    _result: Any
    _cache: Any = field(repr=False, compare=False)
    metadata: Metadata = field(default_factory=dict)
    module: str | None = None
    version: Version = None
    code_digest: str | None = None

    # The cache that was asked, where it is not the one that holds the call.
    _asked: ClassVar[Any] = None

    @property
    def arguments(self) -> LazyArguments:
        """The arguments, a mapping by name."""
        return LazyArguments(self._cache, self._arguments)

    @property
    def result(self) -> Any:
        """The result; `None` while it is pending. Of a call that raised, what it raised, and of one
        that is iterated over, a list of the items.

        Raises:
            KeyError: if the cache does not hold it.
        """
        return shown(self._stored_result())

    def _stored_result(self) -> Any:
        if isinstance(self._result, Digest):
            return self._cache.load_value(self._result)
        return self._result

    def fetch(self) -> Call:
        """The call with all of its values loaded.

        Raises:
            KeyError: if the cache does not hold the result.
        """
        source = self
        load_all = getattr(self._cache, "_load_values", None)
        if load_all is not None:
            # All at once, where each one by itself takes a way to another machine.
            held = (*self._arguments.values(), self._result)
            found = load_all([_core.storage_key(key) for key in held if isinstance(key, Digest)])
            source = replace(self, _cache=_Loaded(found, self._cache))
        return Call(
            name=self.name,
            arguments=dict(source.arguments),
            metadata=_copy_json(self.metadata),
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
            result=source._stored_result(),
        )

    def inputs(self) -> dict[str, list[LazyCall]]:
        """By argument, the calls whose result it is, contains, or is a part of.

        Equal contents are one, but for small values, which are equal by chance. The results of the
        whole cache are read.

        >>> from fleche.config import cache_from_config
        >>> cache = cache_from_config({"template": "memory"})
        >>> _ = cache.save(Call("read", {"path": "a.txt"}, result=["the first line", "the second"]))
        >>> _ = cache.save(Call("count", {"lines": ["the first line", "the second"]}, result=2))
        >>> cache.query(name="count").only().inputs()["lines"][0].name
        'read'
        """
        found: dict[str, list[LazyCall]] = seam.look_up("inputs_of_call")(self)
        return found

    def outputs(self) -> list[LazyCall]:
        """The calls that took its result, or a part of it, as an argument or within one.

        >>> from fleche.config import cache_from_config
        >>> cache = cache_from_config({"template": "memory"})
        >>> _ = cache.save(Call("read", {"path": "a.txt"}, result=["the first line", "the second"]))
        >>> _ = cache.save(Call("count", {"lines": ["the first line", "the second"]}, result=2))
        >>> [call.name for call in cache.query(name="read").only().outputs()]
        ['count']
        """
        found: list[LazyCall] = seam.look_up("outputs_of_call")(self)
        return found

    def lineage(self, depth: int | None = None, outputs: bool = False) -> Lineage:
        """The calls that made what it was given, and what these were given, and so on.

        Args:
            depth: how many steps to go; `None`: to the end.
            outputs: go the other way, to the calls that took the result.

        Raises:
            ValueError: if the depth is negative.
        """
        return cast("Lineage", seam.look_up("lineage_of_call")(self, depth, outputs))

    def _repr_html_(self) -> str:
        """A table of it, without values, in notebooks."""
        from fleche.call.notebook import html_of

        return html_of(self)

    def detach(self) -> DigestedCall:
        """The record of the call, without its cache; it shares nothing with this one."""
        return DigestedCall(
            name=self.name,
            arguments=dict(self._arguments),
            result=self._result,
            metadata=_copy_json(self.metadata),
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
        )

    def to_lookup_key(self) -> Digest:
        """The key of the record."""
        return _core.lookup_key(self, self._arguments)

    def __digest__(self) -> Digest:
        return self.detach().__digest__()


class _Loaded:
    """Values that were loaded, as the cache that they are from."""

    def __init__(self, values: dict[Digest, Any], cache: BaseCache) -> None:
        self._values = values
        self._cache = cache
        self._given: set[Digest] = set()

    def load_value(self, key: Digest) -> Any:
        # Equal arguments are objects of their own, as from any cache.
        if key in self._given:
            return self._cache.load_value(key)
        value = self._values[key]
        self._given.add(key)
        return value


AnyCall: TypeAlias = Call | LazyCall


def warn_of_unsaved_argument(name: str) -> None:
    """Say that an argument's value is not stored."""
    logger.warning(
        "Failed to save argument %r: falling back to digest-only reference",
        name,
        exc_info=logger.isEnabledFor(logging.DEBUG),
    )


def _copy_json(value: Any) -> Any:
    kind = type(value)
    if kind in (str, int, float, bool, types.NoneType):
        return value
    if kind is dict or kind is defaultdict:
        return {name: _copy_json(held) for name, held in value.items()}
    if kind is list:
        return [_copy_json(held) for held in value]
    return copy.deepcopy(value)


def _fields(call: Call | DigestedCall) -> tuple[Any, ...]:
    return (
        call.name,
        call.arguments,
        call.metadata,
        call.module,
        call.version,
        call.code_digest,
        call.result,
    )


# Pickles name them by `fleche.call`, as those of the reference do.
__test__ = {each.__name__: each for each in (Call, DigestedCall, LazyArguments, LazyCall)}
for _public in __test__.values():
    _public.__module__ = "fleche.call"
