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

from typing import TYPE_CHECKING

from fleche import _core
from fleche._foundation import forks, seam
from fleche._foundation.lazy import names_of
from fleche.digest import D
from fleche.state import cache, meta, project, tags
from fleche.wrapper import fleche

if TYPE_CHECKING:
    from fleche.call import Ignored, Required
    from fleche.executor import wrap_executor
    from fleche.files import File
    from fleche.state import BoundWrapper
    from fleche.statistics import stats
    from fleche.sweeps import Sweep, SweepFailed
    from fleche.wrapper.explanation import Explanation
    from fleche.wrapper.moved import rename

__version__ = _core.VERSION

__all__ = [
    "BoundWrapper",
    "D",
    "Explanation",
    "File",
    "Ignored",
    "Required",
    "Sweep",
    "SweepFailed",
    "__version__",
    "cache",
    "fleche",
    "meta",
    "project",
    "rename",
    "stats",
    "tags",
    "wrap_executor",
]

forks.await_others()

# What lower floors look up in upper ones; see `fleche._foundation.seam`.
seam.fill(
    {
        "active_cache": ("fleche.state", "get_cache"),
        "cache_from_config": ("fleche.config", "cache_from_config"),
        "content_of": ("fleche.lineage.contents", "content_of"),
        "default_metadata": ("fleche.config", "load_default_metadata"),
        "default_section": ("fleche.config", "default_section"),
        "evicted": ("fleche.statistics.tallies", "evicted"),
        "filtered_cache": ("fleche.caches", "FilteredCache"),
        "html_of_cache": ("fleche.caches.notebook", "html_of"),
        "inputs_of_call": ("fleche.lineage", "inputs_of"),
        "lineage_of_call": ("fleche.lineage", "lineage_of"),
        "load_cache_config": ("fleche.config", "load_cache_config"),
        "outputs_of_call": ("fleche.lineage", "outputs_of"),
        "read_only_cache": ("fleche.caches", "ReadOnlyCache"),
        "ssh_cache": ("fleche.remote", "SshCache"),
        "stack_of_caches": ("fleche.caches", "CacheStack"),
        "sweep": ("fleche.sweeps", "Sweep"),
    }
)

# What `import fleche` alone gives access to; imported when first used.
__getattr__, __dir__ = names_of(
    __name__,
    {
        "BoundWrapper": "fleche.state",
        "Explanation": "fleche.wrapper.explanation",
        "File": "fleche.files",
        "Ignored": "fleche.call",
        "Required": "fleche.call",
        "rename": "fleche.wrapper.moved",
        **dict.fromkeys(("Sweep", "SweepFailed"), "fleche.sweeps"),
        "stats": "fleche.statistics",
        "wrap_executor": "fleche.executor",
        **{
            name: f"fleche.{name}"
            for name in (
                *("auditing", "call", "caches", "config", "events", "executor", "export"),
                *("lineage", "metadata", "query", "remote", "security", "statistics"),
                *("storage", "sweeps"),
            )
        },
    },
)
