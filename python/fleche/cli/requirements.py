"""Lines of a `requirements.txt`: which versions of which packages an environment is to have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Requirement", "name_in", "normalised", "read"]

# A name, extras, and what follows (PEP 508).
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*)")
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([^\s,;]+)")
_RELEASE = re.compile(r"v?(?:\d+!)?(\d+(?:\.\d+)*)(.*)")
_INCLUDED = re.compile(r"(?:-r|--requirement)[\s=]+(.+)")


@dataclass(frozen=True)
class Requirement:
    """What is required of a package.

    Args:
        name: the package, normalised.
        clauses: operators and versions, all of which must hold.
    """

    name: str
    clauses: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + ",".join(operator + version for operator, version in self.clauses)

    def admits(self, version: str) -> bool:
        """Whether a version is one of those that are required, as far as numbers tell.

        >>> Requirement("numpy", ((">=", "1.26"), ("<", "2"))).admits("1.26.4")
        True
        >>> Requirement("numpy", (("==", "2.1.*"),)).admits("2.0.0")
        False
        """
        return all(_holds(version, operator, wanted) for operator, wanted in self.clauses)


def normalised(name: str) -> str:
    """A package's name as indexes compare it (PEP 503).

    >>> normalised("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def name_in(requirement: str) -> str:
    """The package that a requirement is of, normalised; an empty text if it names none.

    >>> name_in("Foo_Bar[extra]>=1; python_version < '4'")
    'foo-bar'
    """
    found = _LINE.match(requirement)
    return normalised(found[1]) if found else ""


def read(path: Path) -> dict[str, Requirement]:
    """What a file requires, by name; files that it includes by `-r` count, too.

    Raises:
        OSError: if a file cannot be read.
        ValueError: for a line that names no package.
    """
    return {each.name: each for each in _requirements(path, set())}


def _requirements(path: Path, seen: set[Path]) -> Iterator[Requirement]:
    if path in seen:
        return
    seen.add(path)
    text = path.read_text(encoding="utf-8-sig").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := _INCLUDED.fullmatch(line):
            yield from _requirements(path.parent / included[1].strip(), seen)
        elif line and not line.startswith("-"):
            found = _LINE.match(line)
            if found is None or "://" in line.partition("@")[0] or line.startswith((".", "/")):
                raise ValueError(f"{path}, line {number}: {line!r} names no package")
            wanted = "" if found[2].startswith("@") else found[2].partition(";")[0]
            clauses = tuple((each[1], each[2]) for each in _CLAUSE.finditer(wanted))
            yield Requirement(normalised(found[1]), clauses)


def _holds(version: str, operator: str, wanted: str) -> bool:
    if operator == "===" or version == wanted:
        return (version == wanted) is (operator not in ("!=", "<", ">"))
    if wanted.endswith(".*"):
        numbers, start = _numbers(version), _numbers(wanted[:-2])
        return (numbers[: len(start)] == start) is (operator == "==")
    have, want = _order(version), _order(wanted)
    match operator:
        case "==":
            return have == want
        case "!=":
            return have != want
        case "<":
            return have < want
        case ">":
            return have > want
        case "<=":
            return have <= want
        case "~=":
            start = _numbers(wanted)[:-1]
            return have >= want and _numbers(version)[: len(start)] == start
        case _:
            return have >= want


def _numbers(version: str) -> list[int]:
    found = _RELEASE.match(version)
    return [int(part) for part in found[1].split(".")] if found else []


def _order(version: str) -> tuple[list[int], int, str]:
    """What sorts versions: `1.0rc1` comes before `1.0`, and `1.0.post1` after it."""
    numbers = _numbers(version)
    while numbers and numbers[-1] == 0:
        numbers.pop()
    found = _RELEASE.match(version)
    rest = found[2].partition("+")[0].lstrip(".-_") if found else version
    before = -1 if rest and not rest.startswith("post") else 0
    return numbers, before if rest == "" or before else 1, rest
