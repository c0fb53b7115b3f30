"""A persistent cache of function results, keyed by the content of their arguments.

>>> from fleche import cache, fleche
>>> @fleche
... def slow_square(x):
...     print("computing")
...     return x * x
>>> with cache("memory"):
...     slow_square(3)
...     slow_square(3)
computing
9
9
"""

import importlib
from typing import Any

from fleche import _core, _forks
from fleche.call import Ignored, Required
from fleche.digest import D
from fleche.executor import wrap_executor
from fleche.state import BoundWrapper, cache, meta, project, tags
from fleche.wrapper import fleche

__version__ = _core.VERSION

__all__ = [
    "BoundWrapper",
    "D",
    "Ignored",
    "Required",
    "__version__",
    "cache",
    "fleche",
    "meta",
    "project",
    "tags",
    "wrap_executor",
]

_forks.await_others()

# What `import fleche` alone gives access to; imported when first used.
_MODULES = frozenset(("caches", "config", "metadata", "query", "remote", "security", "storage"))


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
