"""Call records: what a function was called with, by whom, and what it returned.

A `Call` holds live values. Stored, it is a `DigestedCall`, which holds their digests; loaded, a
`LazyCall`, which fetches them when they are looked at. A `QueryCall` is a pattern of calls.

>>> def add(x, y=2):
...     return x + y
>>> call = Call.from_call(add, 1)
>>> call.arguments
{'x': 1, 'y': 2}
>>> call.to_lookup_key() == call.digest().to_lookup_key()
True
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
import types
import typing
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from fleche import _core
from fleche.digest import Digest, Indigestible, digest

if TYPE_CHECKING:
    import inspect

    from fleche.caches import BaseCache
    from fleche.storage import ValueStorage

__all__ = [
    "AnyCall",
    "AnyQueryType",
    "Call",
    "DigestedCall",
    "FunctionProfile",
    "Ignored",
    "LazyCall",
    "PreparedCall",
    "QueryCall",
    "Required",
    "StrQueryType",
    "bind",
]

logger = logging.getLogger("fleche.call")

Version: TypeAlias = str | int | None
Metadata: TypeAlias = dict[str, dict[str, Any]]
StrQueryType: TypeAlias = Digest | str | None
AnyQueryType: TypeAlias = Digest | Any | None


class _Marker:
    """A class that marks parameters, bare or as `Marker[type]`."""

    def __class_getitem__(cls, annotated: Any) -> Any:
        return Annotated[annotated, cls]


class Ignored(_Marker):
    """Marks a parameter that takes no part in keys and records.

    >>> def fit(data, verbose: Ignored[bool] = False):
    ...     return sum(data)
    >>> Call.from_call(fit, [1, 2], verbose=True).arguments
    {'data': [1, 2]}
    """


class Required(_Marker):
    """Marks a parameter without whose explicit value a call is not cached.

    >>> def simulate(steps, seed: Required[int] = 0):
    ...     return steps + seed
    >>> FunctionProfile.of(simulate).check_required((10,), {})
    ['seed']
    """


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
    _returned_digest: ClassVar[bool] = False

    @classmethod
    def from_call(cls, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
        """The call `func(*args, **kwargs)`, with defaults applied and ignored arguments dropped.

        Args:
            func: the function, decorated or not; it is not run.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Raises:
            TypeError: if the arguments do not fit the function.
        """
        profile = FunctionProfile.of(func)
        arguments = bind(func, args, kwargs, apply_defaults=True)
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
        return self._to_digested(self._stash_arguments(values), result)

    def _stash_result(self, values: ValueStorage) -> Digest:
        if type(self.result) is Digest and not self._returned_digest:
            return self.result
        return values.save(self.result, _core.result_digest(self.result))

    def _stash_arguments(self, values: ValueStorage) -> dict[str, Digest]:
        from fleche.storage.base import SaveError

        known = self._digests
        digests = {}
        for name, value in self.arguments.items():
            key = digest(value, typed=self._typed) if known is None else known[name]
            digests[name] = key
            if type(value) is Digest:
                continue
            try:
                # Never over what is there: an equal argument, or the very content that the key
                # names, whereas an argument may have its digest by a rule of its own.
                if not values.contains(key):
                    values.save(value, key)
            except SaveError:
                warn_of_unsaved_argument(name)
        return digests

    def _to_digested(self, arguments: dict[str, Digest], result: Digest | None) -> DigestedCall:
        return DigestedCall(
            name=self.name,
            arguments=arguments,
            result=result,
            metadata=self.metadata,
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

    def fetch(self, cache: BaseCache) -> LazyCall:
        """The call whose values are loaded from `cache` when they are looked at."""
        return LazyCall(
            name=self.name,
            _arguments=self.arguments,
            _result=self.result,
            _cache=cache,
            metadata=self.metadata,
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
        )

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
            return self._cache.load_value(value)
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

    @property
    def arguments(self) -> LazyArguments:
        """The arguments, a mapping by name."""
        return LazyArguments(self._cache, self._arguments)

    @property
    def result(self) -> Any:
        """The result; `None` while it is pending.

        Raises:
            KeyError: if the cache does not hold it.
        """
        if isinstance(self._result, Digest):
            return self._cache.load_value(self._result)
        return self._result

    def fetch(self) -> Call:
        """The call with all of its values loaded.

        Raises:
            KeyError: if the cache does not hold the result.
        """
        return Call(
            name=self.name,
            arguments=dict(self.arguments),
            metadata=self.metadata,
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
            result=self.result,
        )

    def detach(self) -> DigestedCall:
        """The record of the call, without its cache."""
        return DigestedCall(
            name=self.name,
            arguments=self._arguments,
            result=self._result,
            metadata=self.metadata,
            module=self.module,
            version=self.version,
            code_digest=self.code_digest,
        )

    def to_lookup_key(self) -> Digest:
        """The key of the record."""
        return _core.lookup_key(self, self._arguments)

    def __digest__(self) -> Digest:
        return self.detach().__digest__()


AnyCall: TypeAlias = Call | LazyCall


@dataclass
class QueryCall:
    """A pattern of calls: fields that are `None` match everything.

    Args:
        name: the function's `__qualname__`, or its digest.
        arguments: values or digests by parameter; `None` as a value: the argument is present.
        metadata: by the metadata's name; `{}`: it is present; `None` as a value: the key is.
        module: the function's module.
        version: the function's version.
        code_digest: the digest of the function's code.
        result: a value or its digest.

    >>> QueryCall("f", {"x": 1}).matches(Call("f", {"x": 1.0, "y": 2}))
    True
    """

    name: StrQueryType = None
    arguments: dict[str, AnyQueryType] | None = None
    metadata: dict[str, dict[str, Any]] | None = None
    module: str | None = None
    version: Version = None
    code_digest: Digest | None = None
    result: AnyQueryType = None

    @classmethod
    def from_call(cls, func: Callable[..., Any], *args: Any, **kwargs: Any) -> QueryCall:
        """The pattern of `func`'s calls with these arguments; those left out match everything.

        Raises:
            TypeError: if the arguments do not fit the function.
        """
        profile = FunctionProfile.of(func)
        bound = bind(func, args, kwargs, partial=True)
        arguments = {name: bound.get(name) for name in profile.signature.parameters}
        profile.strip_for_key(arguments)
        return cls(profile.qualname, arguments, None, profile.module, profile.version)

    def matches(self, other: Call | LazyCall | DigestedCall) -> bool:
        """Whether a call fits the pattern.

        Args:
            other: a call with its values, or a record of one.

        Raises:
            Indigestible: if a value of the pattern has no digest.
        """
        from fleche.query import Matcher

        return Matcher(self).matches(other)


@dataclass
class PreparedCall:
    """A call that a cache admitted before its body runs: its arguments are stored, its key sealed.

    Exactly one of `commit` and `abandon` ends it; left as a context manager without either, it is
    abandoned.
    """

    digested: DigestedCall
    cache: Any
    _finished: bool = field(default=False, init=False, repr=False)
    _result: Any = field(default=None, init=False, repr=False)
    _metadata: Metadata | None = field(default=None, init=False, repr=False)

    def to_lookup_key(self) -> Digest:
        """The key that the record will have."""
        return self.digested.to_lookup_key()

    def commit(self, result: Any, metadata: Metadata | None = None) -> Digest:
        """Store the result and the record; gives its key.

        Args:
            result: what the call returned.
            metadata: by the metadata's name; replaces what the call was prepared with.

        Raises:
            RuntimeError: if the call was committed or abandoned before.
            Rejected: if the cache refuses.
        """
        if self._finished:
            raise RuntimeError("PreparedCall already committed or abandoned")
        self._finished = True
        self._result = result
        self._metadata = metadata
        key: Digest = self.cache.save(self)
        return key

    def abandon(self) -> None:
        """Give the call up: no record of it will be stored."""
        self._finished = True

    def resolve(self, values: ValueStorage) -> DigestedCall:
        """Store the result; gives the finished record."""
        result = values.save(self._result, _core.result_digest(self._result))
        digested = self.digested
        metadata = digested.metadata if self._metadata is None else self._metadata
        return DigestedCall(
            name=digested.name,
            arguments=digested.arguments,
            result=result,
            metadata=metadata,
            module=digested.module,
            version=digested.version,
            code_digest=digested.code_digest,
        )

    def __enter__(self) -> PreparedCall:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> Literal[False]:
        if not self._finished:
            self.abandon()
        return False


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


@dataclass(frozen=True)
class FunctionProfile:
    """What the keys of a function's calls are made of; computed once per callable."""

    signature: inspect.Signature
    qualname: str
    module: str
    version: Version
    code_digest: Digest | None
    ignored: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()

    @classmethod
    def of(cls, func: Callable[..., Any]) -> FunctionProfile:
        """The profile of a callable.

        Raises:
            TypeError: if `func` is not callable.
        """
        return _get_profile(func)

    def check_required(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """The required parameters that a call leaves to their defaults."""
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        return [n for n in sorted(self.required) if n not in bound and n not in kwargs]

    def strip_for_key(self, bound: dict[str, Any]) -> None:
        """Drop the ignored arguments from `bound`, in place."""
        for name in self.ignored:
            bound.pop(name, None)


_PROFILES: weakref.WeakKeyDictionary[Any, FunctionProfile] = weakref.WeakKeyDictionary()


def _get_profile(func: Callable[..., Any]) -> FunctionProfile:
    with contextlib.suppress(KeyError, TypeError):
        return _PROFILES[func]
    profile = _profile(func)
    # One that is not hashable or not weakly referenceable is computed anew each time.
    with contextlib.suppress(TypeError):
        _PROFILES[func] = profile
    return profile


def _profile(func: Callable[..., Any]) -> FunctionProfile:
    signature = signature_of(func)
    ignored, required = marked_of(func, signature)
    return FunctionProfile(
        signature=signature,
        qualname=qualname_of(func),
        module=module_of(func),
        version=version_of(func),
        code_digest=code_digest_of(func),
        ignored=ignored,
        required=required,
    )


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """The signature of a callable; `(*args, **kwargs)` for one that does not tell.

    Raises:
        TypeError: if `func` is not callable.
    """
    import inspect

    if not callable(func):
        raise TypeError(f"{func!r} is not a callable object")
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # Annotations may name what does not exist at run time.
            lenient = annotationlib.Format.FORWARDREF
            return inspect.signature(func, annotation_format=lenient)
        return inspect.signature(func)
    except (TypeError, ValueError):
        parameter = inspect.Parameter
        return inspect.Signature(
            [
                parameter("args", parameter.VAR_POSITIONAL),
                parameter("kwargs", parameter.VAR_KEYWORD),
            ]
        )


def compile_signature(signature: inspect.Signature) -> _core.Signature:
    """A signature in the form that binds calls."""
    return _core.Signature(
        [
            (p.name, int(p.kind), None if p.default is p.empty else (p.default,))
            for p in signature.parameters.values()
        ]
    )


def bind(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    apply_defaults: bool = False,
    partial: bool = False,
) -> dict[str, Any]:
    """The arguments of a call by parameter, in the order of the parameters.

    Args:
        func: what is called.
        args: the positional arguments.
        kwargs: the keyword arguments.
        apply_defaults: add the parameters that the call leaves out.
        partial: let parameters stay without a value.

    Raises:
        TypeError: if the arguments do not fit.

    >>> bind(lambda x, *, y=2: x, (1,), {}, apply_defaults=True)
    {'x': 1, 'y': 2}
    """
    signature = _get_profile(func).signature
    bound = signature.bind_partial(*args, **kwargs) if partial else signature.bind(*args, **kwargs)
    if apply_defaults:
        bound.apply_defaults()
    return dict(bound.arguments)


def _owner(func: Any) -> Any:
    """What gives a callable its name: the class of an instance that is called."""
    if hasattr(func, "__qualname__"):
        return func
    return type(func)


def qualname_of(func: Any) -> str:
    """The name under which a callable's calls are recorded."""
    return str(_owner(func).__qualname__)


def module_of(func: Any) -> str:
    """The module under which a callable's calls are recorded."""
    module = getattr(func, "__module__", None) or getattr(_owner(func), "__module__", None)
    return "__main__" if module == "__mp_main__" else str(module or "builtins")


def version_of(func: Any) -> Version:
    """A callable's version: its own, else that of its top-level package, else `None`.

    The standard library has the version of Python.
    """
    version = getattr(func, "__version__", None)
    if version is not None:
        return version  # type: ignore[no-any-return]
    package = module_of(func).partition(".")[0]
    if package in sys.stdlib_module_names and package != "__main__":
        return sys.version.split()[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    if version is None or isinstance(version, str | int):
        return version
    # Some packages have a module or an object of that name.
    return None if isinstance(version, types.ModuleType) else str(version)


def code_digest_of(func: Any) -> Digest | None:
    """The digest of what a function does; `None` for a callable without code of its own."""
    if isinstance(func, types.MethodType):
        func = func.__func__
    if not isinstance(func, types.FunctionType):
        return None
    try:
        return digest(func)
    except Indigestible as error:
        culprit = error.args[0] if error.args else error
        logger.warning(
            "Cannot digest what %s captured (a %s); its code digest ignores every captured "
            "variable and so collides with other closures made from the same definition",
            qualname_of(func),
            type(culprit).__name__,
        )
        return digest(func.__code__)


def marked_of(func: Any, signature: inspect.Signature) -> tuple[frozenset[str], frozenset[str]]:
    """The parameters whose annotations hold `Ignored`, and those that hold `Required`."""
    ignored, required = set(), set()
    for name, annotation in _annotations(func, signature).items():
        if _holds(annotation, Ignored):
            ignored.add(name)
        if _holds(annotation, Required):
            required.add(name)
            if signature.parameters[name].kind is signature.parameters[name].POSITIONAL_ONLY:
                logger.warning(
                    "Argument %r is marked as Required but is positional-only. "
                    "Required only works for keyword arguments.",
                    name,
                )
    return frozenset(ignored), frozenset(required)


def _annotations(func: Any, signature: inspect.Signature) -> dict[str, Any]:
    """Annotations by parameter; those written as strings are resolved one by one, as far as their
    names exist, so that one unknown name does not hide the markers of the others."""
    annotations = {}
    inner = func
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    names = getattr(inner, "__globals__", {})
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if annotation is parameter.empty:
            continue
        if isinstance(annotation, str):
            if "Ignored" not in annotation and "Required" not in annotation:
                continue
            scope = {"Ignored": Ignored, "Required": Required, "Annotated": Annotated, **names}
            try:
                annotation = eval(annotation, scope)
            except Exception as error:
                logger.warning(
                    "Cannot resolve the annotation %r of %s's parameter %r (%s): it marks nothing.",
                    annotation,
                    qualname_of(func),
                    name,
                    error,
                )
                continue
        annotations[name] = annotation
    return annotations


def _holds(annotation: Any, marker: type) -> bool:
    return annotation is marker or (
        typing.get_origin(annotation) is Annotated
        and any(part is marker for part in annotation.__metadata__)
    )
