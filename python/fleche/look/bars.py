"""Something by day, as bars; by week or month where there are many days."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleche.look.markup import Markup, joined, tag
from fleche.look.numbers import duration
from fleche.look.tables import Cell, Column, table

__all__ = ["by_period", "drawn_by_period"]

# So many bars at most, of whichever periods.
_DAYS, _WEEKS = 62, 366

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 28

_STEPS = (
    *(0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1800),
    *(3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400),
)


@dataclass(frozen=True)
class _Period:
    first: datetime.date
    last: datetime.date
    seconds: float

    def __str__(self) -> str:
        days = (self.last - self.first).days
        if days == 0:
            return str(self.first)
        return f"{self.first} to {self.last}" if days < 7 else f"{self.first:%Y-%m}"


def by_period(seconds: Mapping[str, float]) -> tuple[str, list[_Period]]:
    """What kind of periods there are, and those from the first one to the last one.

    Args:
        seconds: by day, as ISO 8601 has it; what is no day, or no time, is left out.

    >>> kind, periods = by_period({"2026-01-30": 5.0, "2026-02-01": 7.0, "never": 1.0})
    >>> kind, [str(each) for each in periods], [each.seconds for each in periods]
    ('day', ['2026-01-30', '2026-01-31', '2026-02-01'], [5.0, 0.0, 7.0])
    """
    days: dict[datetime.date, float] = {}
    for text, some in seconds.items():
        try:
            day = datetime.date.fromisoformat(text)
        except ValueError:
            continue
        if 0 <= some < math.inf:
            days[day] = days.get(day, 0.0) + some
    if not days:
        return "day", []
    first, last = min(days), max(days)
    span = (last - first).days + 1
    kind = "day" if span <= _DAYS else "week" if span <= _WEEKS else "month"
    sums: dict[datetime.date, float] = {}
    for day, some in days.items():
        begin = _begin(day, kind)
        sums[begin] = sums.get(begin, 0.0) + some
    return kind, [*_periods(_begin(first, kind), last, kind, sums)]


def _begin(day: datetime.date, kind: str) -> datetime.date:
    if kind == "week":
        # The first one there is a Monday.
        return datetime.date.fromordinal(max(day.toordinal() - day.weekday(), 1))
    return day.replace(day=1) if kind == "month" else day


def _periods(
    begin: datetime.date, last: datetime.date, kind: str, sums: Mapping[datetime.date, float]
) -> Iterator[_Period]:
    if kind == "month" and (last.year - begin.year) > 50:
        # A clock was wrong: years without anything are left out.
        for each in sorted(sums)[-600:]:
            yield _Period(each, _end(each, kind), sums[each])
        return
    while begin <= last:
        end = _end(begin, kind)
        yield _Period(begin, end, sums.get(begin, 0.0))
        if end >= datetime.date.max:
            return
        begin = end + datetime.timedelta(days=1)


def _end(begin: datetime.date, kind: str) -> datetime.date:
    days = {"day": 0, "week": 6}.get(kind)
    if days is None:
        year, month = divmod(12 * begin.year + begin.month, 12)
        number = datetime.date(year, month + 1, 1).toordinal() if year <= 9999 else 3652060
    else:
        number = begin.toordinal() + days + 1
    return datetime.date.fromordinal(min(number - 1, datetime.date.max.toordinal()))


def drawn_by_period(what: str, seconds: Mapping[str, float], name: str) -> Markup | None:
    """Seconds by day, drawn as bars, with a table that says the same; `None` if there are none.

    Args:
        what: what they are, for who does not see it: "Time saved".
        seconds: by day, as ISO 8601 has it.
        name: tells this drawing from others of the page.
    """
    kind, periods = by_period(seconds)
    if not periods or not any(each.seconds for each in periods):
        return None
    most = max(periods, key=lambda each: each.seconds)
    total = duration(sum(each.seconds for each in periods))
    said = (
        f"{what} by {kind}, {periods[0]} to {periods[-1]}: {total} in all, the most "
        f"{'on' if kind == 'day' else 'in'} {most}: {duration(most.seconds)}."
        if len(periods) > 1
        else f"{what}: {total} on {most}."
    )
    drawing = tag(
        "svg",
        tag("title", f"{what} by {kind}", id=f"{name}-title"),
        tag("desc", said, id=f"{name}-text"),
        *_lines(most.seconds),
        joined(_bars(periods, most.seconds)),
        joined(_labels(periods)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
        class_="bars",
    )
    rows = [
        (str(each), Cell(duration(each.seconds), each.seconds))
        for each in reversed(periods)
        if each.seconds
    ]
    listed = tag(
        "details",
        tag("summary", f"The same as a table, by {kind}"),
        table([Column(kind), Column(what.lower(), True)], rows),
    )
    return tag(
        "figure",
        tag("div", drawing, class_="scroll", tabindex="0", role="group", aria_label=what),
        tag("figcaption", said),
        listed,
    )


def _step(most: float) -> float:
    """How far lines are apart, so that there are about four."""
    wanted = most / 4
    for step in _STEPS:
        if step >= wanted:
            return step
    week = 7 * 86400.0
    return week * -(-wanted // week)


def _height(seconds: float, most: float) -> float:
    return (_HEIGHT - _TOP - _BOTTOM) * seconds / (most or 1.0)


def _lines(most: float) -> Iterator[Markup]:
    step, base = _step(most), _HEIGHT - _BOTTOM
    for number in range(6):
        y = base - _height(number * step, most)
        if y < _TOP - 1:
            return
        shown = duration(number * step) if number else "0"
        yield tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}")
        yield tag("text", shown, x=_LEFT - 8, y=f"{y + 4:.1f}", text_anchor="end")


def _bars(periods: list[_Period], most: float) -> Iterator[Markup]:
    room = (_WIDTH - _LEFT - _RIGHT) / len(periods)
    for place, each in enumerate(periods):
        if not each.seconds:
            continue
        height = max(_height(each.seconds, most), 1.0)
        width = min(room * 0.8, 48.0)
        yield tag(
            "rect",
            tag("title", f"{each}: {duration(each.seconds)}"),
            x=f"{_LEFT + place * room + (room - width) / 2:.2f}",
            y=f"{_HEIGHT - _BOTTOM - height:.2f}",
            width=f"{width:.2f}",
            height=f"{height:.2f}",
        )


def _labels(periods: list[_Period]) -> Iterator[Markup]:
    room = (_WIDTH - _LEFT - _RIGHT) / len(periods)
    every = max(-(-len(periods) // 7), 1)
    for place in range(0, len(periods), every):
        x = _LEFT + (place + 0.5) * room
        # The first and the last one stay within the drawing.
        x = min(max(x, _LEFT + 24.0), _WIDTH - _RIGHT - 36.0)
        text = str(periods[place].first)
        is_month = (periods[place].last - periods[place].first).days > 6
        shown = text[:7] if is_month else text
        yield tag("text", shown, x=f"{x:.1f}", y=_HEIGHT - 8, text_anchor="middle")
