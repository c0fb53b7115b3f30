"""What follows from what, as boxes in layers, the beginnings on top."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fleche.look.markup import Markup, joined, tag
from fleche.look.numbers import count, cut, duration

__all__ = ["Arrow", "Box", "drawn_in_layers"]

_T = TypeVar("_T", bound=Hashable)

# Of more boxes in a layer, those of one name are drawn as one; of more layers, the last ones.
_IN_A_LAYER, _LAYERS = 5, 30

_WIDE, _HIGH, _BESIDE, _BETWEEN, _EDGE = 168, 44, 20, 58, 10


@dataclass(frozen=True)
class Box:
    """What is in a box.

    Args:
        name: what it is called; of many in a layer, those of one name are one box.
        mark: tells it from others of that name.
        seconds: how long it took.
    """

    name: str
    mark: str
    seconds: float | None = None


@dataclass(frozen=True)
class Arrow(Generic[_T]):
    """That something went from one box to another.

    Args:
        begin: the key of the one.
        end: the key of the other.
        name: what it is called there.
    """

    begin: _T
    end: _T
    name: str


@dataclass
class _Drawn(Generic[_T]):
    """A box as it is drawn, for one or several."""

    name: str
    keys: list[_T]
    seconds: float | None
    mark: str
    x: float = 0.0
    y: float = 0.0


def drawn_in_layers(
    root: _T, boxes: Mapping[_T, Box], arrows: Sequence[Arrow[_T]], title: str, name: str
) -> Markup:
    """Boxes and arrows; each box stands above those that its arrows go to, the root at the bottom.

    Args:
        root: the key of the last one.
        boxes: by their keys.
        arrows: between them.
        title: what is drawn.
        name: tells this drawing from others of the page.
    """
    layers = _layers(root, boxes, arrows)
    left_out = sum(len(layer) for layer in layers[_LAYERS:])
    rows = [_boxes_of(layer, boxes) for layer in layers[:_LAYERS]]
    _order(rows, arrows)
    width = max(len(row) for row in rows) * (_WIDE + _BESIDE) - _BESIDE + 2 * _EDGE
    height = len(rows) * (_HIGH + _BETWEEN) - _BETWEEN + 2 * _EDGE
    for place, row in enumerate(rows):
        taken = len(row) * (_WIDE + _BESIDE) - _BESIDE
        for number, each in enumerate(row):
            each.x = (width - taken) / 2 + number * (_WIDE + _BESIDE)
            each.y = height - _EDGE - _HIGH - place * (_HIGH + _BETWEEN)
    said = f"{title}: {count(len(boxes), 'call')} in {count(len(layers), 'step')}."
    if left_out:
        said += f" The first {count(left_out, 'call')} of it are not drawn."
    paths, labels = _arrows(rows, arrows)
    drawing = tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", said, id=f"{name}-text"),
        joined(paths),
        joined(_box(each, root) for row in rows for each in row),
        joined(labels),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
        class_="layers",
    )
    return tag(
        "figure",
        tag("div", drawing, class_="scroll", tabindex="0", role="group", aria_label=title),
        tag("figcaption", said),
    )


def _layers(root: _T, boxes: Iterable[_T], arrows: Sequence[Arrow[_T]]) -> list[list[_T]]:
    """From the root on: each one as far from it as the longest way is."""
    above: dict[_T, list[_T]] = defaultdict(list)
    waits: dict[_T, int] = defaultdict(int)
    for arrow in arrows:
        above[arrow.end].append(arrow.begin)
        waits[arrow.begin] += 1
    depth = {root: 0}
    ready = [root]
    while ready:
        key = ready.pop()
        for other in above[key]:
            if other == root:
                continue
            depth[other] = max(depth.get(other, 0), depth[key] + 1)
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
    # In a circle, which equal contents may make, each waits for the others.
    layers: dict[int, list[_T]] = defaultdict(list)
    for key in boxes:
        layers[depth.get(key, 1)].append(key)
    return [layers[place] for place in sorted(layers)]


def _boxes_of(keys: Sequence[_T], boxes: Mapping[_T, Box]) -> list[_Drawn[_T]]:
    if len(keys) <= _IN_A_LAYER:
        groups = [(boxes[key].name, [key]) for key in keys]
    else:
        by_name: dict[str, list[_T]] = defaultdict(list)
        for key in keys:
            by_name[boxes[key].name].append(key)
        groups = sorted(by_name.items(), key=lambda group: -len(group[1]))
        if len(groups) > _IN_A_LAYER:
            rest = groups[_IN_A_LAYER - 1 :]
            others = f"{len(rest)} other functions"
            groups = groups[: _IN_A_LAYER - 1]
            groups.append((others, [key for _, some in rest for key in some]))
    return [_drawn(name, some, boxes) for name, some in groups]


def _drawn(name: str, keys: list[_T], boxes: Mapping[_T, Box]) -> _Drawn[_T]:
    times = [some for key in keys if (some := boxes[key].seconds) is not None]
    mark = boxes[keys[0]].mark if len(keys) == 1 else count(len(keys), "call")
    return _Drawn(name, keys, sum(times) if times else None, mark)


def _order(rows: list[list[_Drawn[_T]]], arrows: Sequence[Arrow[_T]]) -> None:
    """Each box near those that its arrows go to, so that few of them cross."""
    ends: dict[_T, list[_T]] = defaultdict(list)
    for arrow in arrows:
        ends[arrow.begin].append(arrow.end)
    where: dict[_T, float] = {}
    for row in rows:
        middles: dict[int, float] = {}
        for box in row:
            found = [where[end] for key in box.keys for end in ends[key] if end in where]
            middles[id(box)] = sum(found) / len(found) if found else 0.5
        row.sort(key=lambda box: middles[id(box)])
        for place, box in enumerate(row):
            where.update(dict.fromkeys(box.keys, (place + 0.5) / len(row)))


def _arrows(
    rows: list[list[_Drawn[_T]]], arrows: Sequence[Arrow[_T]]
) -> tuple[list[Markup], list[Markup]]:
    of = {key: box for row in rows for box in row for key in box.keys}
    names: dict[tuple[int, int], dict[str, None]] = defaultdict(dict)
    ends: dict[tuple[int, int], tuple[_Drawn[_T], _Drawn[_T]]] = {}
    for arrow in arrows:
        begin, end = of.get(arrow.begin), of.get(arrow.end)
        if begin is None or end is None or begin is end:
            continue
        ends[id(begin), id(end)] = begin, end
        names[id(begin), id(end)][arrow.name] = None
    paths, labels = [], []
    for both, (begin, end) in ends.items():
        x1, y1 = begin.x + _WIDE / 2, begin.y + _HIGH
        x2, y2 = end.x + _WIDE / 2, end.y
        bend = (y2 - y1) / 2
        way = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f}"
        paths.append(tag("path", d=f"{way} {x2:.0f} {y2:.0f}"))
        paths.append(tag("circle", cx=f"{x2:.0f}", cy=f"{y2:.0f}", r="3"))
        text = ", ".join(names[both])
        label = tag("tspan", cut(text, 20)) if len(text) <= 20 else _cut(text, 20)
        # Nearer to where it comes from: there they are apart.
        x, y = x1 + (x2 - x1) * 0.28, y1 + (y2 - y1) * 0.36 + 4
        labels.append(
            tag("text", label, x=f"{x:.0f}", y=f"{y:.0f}", text_anchor="middle", class_="label")
        )
    return paths, labels


def _cut(text: str, width: int) -> Markup:
    return tag("tspan", tag("title", cut(text, 500)), cut(text, width))


def _box(each: _Drawn[_T], root: _T) -> Markup:
    middle = each.x + _WIDE / 2
    took = "" if each.seconds is None else f", {duration(each.seconds)}"
    return tag(
        "g",
        tag("title", f"{cut(each.name, 500)}, {each.mark}{took}"),
        tag("rect", x=f"{each.x:.0f}", y=f"{each.y:.0f}", width=_WIDE, height=_HIGH, rx="4"),
        tag("text", cut(each.name, 22), x=f"{middle:.0f}", y=f"{each.y + 18:.0f}"),
        tag(
            *("text", f"{each.mark}{took}"),
            x=f"{middle:.0f}",
            y=f"{each.y + 35:.0f}",
            class_="quiet",
        ),
        class_="root" if root in each.keys else None,
    )
