"""Sweeps: many calls of one cached function, of which only those run that the cache does not hold.

What lives here, a file each: `sweep` (what `f.map` returns), `grid` (which calls these are),
`lookup` (which of them the cache holds), `running` and `executors` (how the others are run, here
or elsewhere), `progress`, `table` and `failures`. It may import executors and what is below; the
decorated function finds it through `fleche._foundation.seam`.
"""

from fleche.sweeps.failures import SweepFailed
from fleche.sweeps.sweep import Sweep

__all__ = ["Sweep", "SweepFailed"]

# They are known by the name under which users import them, wherever they are defined.
for _name in __all__:
    globals()[_name].__module__ = __name__
