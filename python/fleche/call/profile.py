"""What the keys of a function's calls are made of: signature, name, module, version and code."""

from __future__ import annotations

import contextlib
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias, TypeVar

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.call.filed import Wrap, files_of, may_name_file, resolved, take_files
from fleche.digest import Digest, Indigestible, digest

if TYPE_CHECKING:
    import inspect

logger = logger_of("fleche.call")

Version: TypeAlias = str | int | None


if TYPE_CHECKING:
    _Annotated = TypeVar("_Annotated")
    # What a parameter marked so is for type checkers: of the type that it has.
    Ignored: TypeAlias = Annotated[_Annotated, "takes no part in keys and records"]
    Required: TypeAlias = Annotated[_Annotated, "is to be passed explicitly"]
else:

    class _Marker:
        """A class that marks parameters, bare or as `Marker[type]`."""

        def __class_getitem__(cls, annotated: Any) -> Any:
            return Annotated[annotated, cls]

    class Ignored(_Marker):
        """Marks a parameter that takes no part in keys and records.

        >>> from fleche.call import Call
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
    files: Mapping[str, Wrap] = field(default_factory=dict)

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

    def take_files(self, bound: dict[str, Any]) -> dict[str, Any]:
        """The arguments, with a `File` in the place of each path where files are wanted."""
        return take_files(self.files, self.signature, bound)

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
    ignored, required, files = marked_of(func, signature)
    return FunctionProfile(
        signature=signature,
        qualname=qualname_of(func),
        module=module_of(func),
        version=version_of(func),
        code_digest=code_digest_of(func),
        ignored=ignored,
        required=required,
        files=files,
    )


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """The signature of a callable; `(*args, **kwargs)` for one that does not tell.

    A wrapper that takes arguments of its own is called with these: that of the function that it
    wraps (`functools.wraps`) counts where the wrapper passes on whatever it gets.

    Raises:
        TypeError: if `func` is not callable.
    """
    import inspect

    if not callable(func):
        raise TypeError(f"{func!r} is not a callable object")
    options: dict[str, Any] = {}
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # Annotations may name what does not exist at run time.
            options["annotation_format"] = annotationlib.Format.FORWARDREF
        if hasattr(func, "__wrapped__"):
            own = inspect.signature(func, follow_wrapped=False, **options)
            kinds = {parameter.kind for parameter in own.parameters.values()}
            if not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
                return own
        return inspect.signature(func, **options)
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


class Marks(NamedTuple):
    """Parameters by what their annotations say: those with `Ignored`, those with `Required`, and
    what makes files of the arguments of others."""

    ignored: frozenset[str]
    required: frozenset[str]
    files: dict[str, Wrap]


def marked_of(func: Any, signature: inspect.Signature) -> Marks:
    """What the annotations of a function say of its parameters.

    Raises:
        TypeError: if the default of a parameter that takes files is a path.
    """
    names = _names_of(func)
    annotations = _annotations(func, signature, names)
    ignored, required = set(), set()
    for name, annotation in annotations.items():
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
    files = files_of(qualname_of(func), annotations, signature, names)
    return Marks(frozenset(ignored), frozenset(required), files)


def _names_of(func: Any) -> dict[str, Any]:
    """What an annotation that is text may name."""
    while hasattr(func, "__wrapped__"):
        func = func.__wrapped__
    names: dict[str, Any] = getattr(func, "__globals__", {})
    return names


def _annotations(func: Any, signature: inspect.Signature, names: dict[str, Any]) -> dict[str, Any]:
    """Annotations by parameter; those written as strings are resolved one by one, as far as their
    names exist, so that one unknown name does not hide the markers of the others."""
    annotations = {}
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if annotation is parameter.empty:
            continue
        if isinstance(annotation, str):
            filed = may_name_file(annotation)
            if not filed and "Ignored" not in annotation and "Required" not in annotation:
                continue
            scope = {"Ignored": Ignored, "Required": Required, "Annotated": Annotated, **names}
            try:
                annotation = resolved(annotation, scope) if filed else eval(annotation, scope)
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


# They pickle by the name under which users import them.
__test__: dict[str, Any] = {
    "Ignored": Ignored,
    "Required": Required,
    "FunctionProfile": FunctionProfile,
    "bind": bind,
}
for _public in __test__.values():
    _public.__module__ = "fleche.call"
