"""Which calls made the arguments of a call, and which took its result.

What lives here: `contents` (what a value is told by, and what is in it), `remembered`
(that, kept for other processes), `index` (the calls of a
cache by what they made and took), `graph` (a call with those around it, as a tree, DOT and JSON).
It may import caches and what is below. A new form of the graph is a method in `graph`.

Calls are joined by content: an argument that equals a result came from there, whoever computed it
first. What a call was given and hands on in its result, it did not make. Values that tell nothing,
such as `None`, `True`, `0.5` or `"mean"`, join no calls.
"""

from __future__ import annotations

from fleche.lineage.graph import Edge, Lineage, inputs_of, lineage_of, outputs_of
from fleche.lineage.index import Index, cache_of

__all__ = ["Edge", "Index", "Lineage", "cache_of", "inputs_of", "lineage_of", "outputs_of"]
