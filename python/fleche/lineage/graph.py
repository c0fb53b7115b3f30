"""A call with the calls around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fleche.call import LazyCall
from fleche.digest import Digest
from fleche.lineage.index import Index, cache_of

__all__ = ["Edge", "Lineage", "inputs_of", "lineage_of", "outputs_of"]

# So many characters of a key are shown.
_SHOWN = 8


@dataclass(frozen=True)
class Edge:
    """That a call took what another one made.

    Args:
        maker: the key of the call that made it.
        taker: the key of the call that took it.
        argument: the argument that it was.
    """

    maker: Digest
    taker: Digest
    argument: str


@dataclass(frozen=True)
class Lineage:
    """A call with the calls that made what it was given, or that took what it gave, and so on.

    Args:
        root: the call's key.
        calls: the calls by their keys.
        edges: which took what of which.
        outputs: whether it goes on to the calls that took the result.
        unread: how many values could not be read, which may hide calls.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> _ = cache.save(Call("read", {"path": "a.txt"}, result="the text of the file"))
    >>> _ = cache.save(Call("count", {"text": "the text of the file"}, result=5))
    >>> lineage = cache.query(name="count").only().lineage()
    >>> [(edge.argument, lineage.calls[edge.maker].name) for edge in lineage.edges]
    [('text', 'read')]
    """

    root: Digest
    calls: dict[Digest, LazyCall]
    edges: list[Edge]
    outputs: bool = False
    unread: int = field(default=0, compare=False)

    def tree(self) -> str:
        """The calls as an indented tree; one that was shown already ends its branch with `...`."""
        return "\n".join(self._lines())

    __str__ = tree

    def _lines(self) -> Iterator[str]:
        below: dict[Digest, list[tuple[str, Digest]]] = {}
        for edge in self.edges:
            ends = (edge.maker, edge.taker) if self.outputs else (edge.taker, edge.maker)
            below.setdefault(ends[0], []).append((edge.argument, ends[1]))
        shown: set[Digest] = set()
        # A chain of calls may be longer than Python's stack.
        waiting = [("", "", "", self.root)]
        while waiting:
            lead, indent, argument, key = waiting.pop()
            again = key in shown and key in below
            label = f"{argument}: " if argument and not self.outputs else ""
            taken = f" ({argument})" if argument and self.outputs else ""
            yield f"{lead}{label}{self._named(key)}{taken}{' ...' if again else ''}"
            if again:
                continue
            shown.add(key)
            children = below.get(key, [])
            for place, (name, child) in reversed([*enumerate(children)]):
                last = place == len(children) - 1
                corner, line = ("└─ ", "   ") if last else ("├─ ", "│  ")
                waiting.append((indent + corner, indent + line, name, child))

    def _named(self, key: Digest) -> str:
        return f"{self.calls[key].name} {key[:_SHOWN]}"

    def to_dot(self) -> str:
        """The graph in the language of Graphviz: arrows go from makers to takers."""
        lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
        for key, call in self.calls.items():
            bold = ", style=bold" if key == self.root else ""
            label = f"{call.name}\n{key[:_SHOWN]}"
            lines.append(f"  {_quoted(key)} [label={_quoted(label)}{bold}];")
        for edge in self.edges:
            ends = f"{_quoted(edge.maker)} -> {_quoted(edge.taker)}"
            lines.append(f"  {ends} [label={_quoted(edge.argument)}];")
        return "\n".join([*lines, "}"])

    def to_dict(self) -> dict[str, Any]:
        """The graph as JSON has it: `root`, `calls` and `edges`."""
        return {
            "root": str(self.root),
            "calls": [
                {
                    "key": str(key),
                    "function": call.name,
                    "module": call.module,
                    "version": call.version,
                }
                for key, call in self.calls.items()
            ],
            "edges": [
                {"maker": str(e.maker), "taker": str(e.taker), "argument": e.argument}
                for e in self.edges
            ],
        }

    def to_json(self) -> str:
        """The graph as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def lineage_of(
    call: LazyCall,
    depth: int | None = None,
    outputs: bool = False,
    index: Index | None = None,
) -> Lineage:
    """A call with the calls around it; see `LazyCall.lineage`.

    Args:
        call: the call.
        depth: how many steps to go; `None`: to the end.
        outputs: whether to go to the calls that took the result.
        index: that of the call's cache, if there is one already.

    Raises:
        ValueError: if the depth is negative.
    """
    if depth is not None and depth < 0:
        raise ValueError(f"the depth of a lineage is a number of steps, not {depth}")
    index = Index(cache_of(call)) if index is None else index
    root = call.to_lookup_key()
    # Evicted since, or of another layer: it is what the question is about.
    index.calls.setdefault(root, call)
    calls, edges = {root: call}, []
    reached = [root]
    steps = 0
    while reached and (depth is None or steps < depth):
        steps += 1
        next_ones: list[Digest] = []
        for key in reached:
            for edge in _edges(index, key, outputs):
                edges.append(edge)
                other = edge.taker if outputs else edge.maker
                if other not in calls:
                    calls[other] = index.calls[other]
                    next_ones.append(other)
        reached = next_ones
    return Lineage(root, calls, edges, outputs, index.unread)


def _edges(index: Index, key: Digest, outputs: bool) -> Iterator[Edge]:
    if outputs:
        for taker, names in index.outputs(key).items():
            yield from (Edge(key, taker, name) for name in names)
    else:
        for name, makers in index.inputs(key).items():
            yield from (Edge(maker, key, name) for maker in makers)


def inputs_of(call: LazyCall) -> dict[str, list[LazyCall]]:
    """By argument, the calls that made it; see `LazyCall.inputs`."""
    found: dict[str, list[LazyCall]] = {}
    lineage = lineage_of(call, depth=1)
    for edge in lineage.edges:
        found.setdefault(edge.argument, []).append(lineage.calls[edge.maker])
    return found


def outputs_of(call: LazyCall) -> list[LazyCall]:
    """The calls that took the result; see `LazyCall.outputs`."""
    lineage = lineage_of(call, depth=1, outputs=True)
    return [held for key, held in lineage.calls.items() if key != lineage.root]
