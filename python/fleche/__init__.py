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

from fleche import _core
from fleche._foundation import forks, seam
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

forks.await_others()

# What lower floors look up in upper ones; see `fleche._foundation.seam`.
seam.fill(
    {
        "active_cache": ("fleche.state", "get_cache"),
        "cache_from_config": ("fleche.config", "cache_from_config"),
        "default_metadata": ("fleche.config", "load_default_metadata"),
        "default_section": ("fleche.config", "default_section"),
        "filtered_cache": ("fleche.caches", "FilteredCache"),
        "load_cache_config": ("fleche.config", "load_cache_config"),
        "read_only_cache": ("fleche.caches", "ReadOnlyCache"),
        "ssh_cache": ("fleche.remote", "SshCache"),
        "stack_of_caches": ("fleche.caches", "CacheStack"),
    }
)

# What `import fleche` alone gives access to; imported when first used.
_MODULES = frozenset(("caches", "config", "metadata", "query", "remote", "security", "storage"))


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
