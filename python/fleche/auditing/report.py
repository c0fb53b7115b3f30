"""What a verification found."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fleche.digest import Digest

__all__ = ["Kind", "Problem", "Report"]


class Kind(enum.StrEnum):
    """What may be wrong with an entry."""

    #: Its bytes are cut, changed, or none that the serialiser takes.
    DAMAGED = "damaged"
    #: A value, read without fault, that is not what its key says.
    CONTENT = "wrong content"
    #: A record that is under another key than its own: it is never hit.
    MISFILED = "misfiled"
    #: A result, or a piece of a value, that is not there.
    MISSING = "missing"
    #: It has no signature, where one is asked for.
    UNSIGNED = "not signed"
    #: Its signature holds with none of the keys.
    FORGED = "wrong signature"
    #: A class or a package that it needs cannot be imported here, or is of another version.
    CLASS = "class missing"
    #: The system does not give it: permissions, a failing disk.
    UNREACHABLE = "out of reach"
    #: A file, or a database, of several entries is damaged.
    FILE = "damaged file"
    #: An argument that is not stored. It may never have been, as what cannot be pickled is not.
    ARGUMENT = "argument not stored"
    #: A value whose digest is another one today: it is damaged, or its class, a hook or its library
    #: changed since.
    CHANGED = "digest changed"
    #: A record without a result.
    PENDING = "no result"


#: These are no proof of damage.
_DOUBTFUL = frozenset({Kind.ARGUMENT, Kind.CHANGED, Kind.PENDING})
#: These may be in order, and are only not to be read here.
_ONLY_HERE = frozenset({Kind.UNSIGNED, Kind.FORGED, Kind.CLASS, Kind.UNREACHABLE})


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one entry, or with a file.

    Args:
        kind: what.
        where: the place of the storage that it is in.
        key: the key of the entry; `None` of a file.
        what: what it is, and why, in words.
        calls: keys of records that need it.
    """

    kind: Kind
    where: str
    key: Digest | None
    what: str
    calls: tuple[Digest, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether something is wrong for sure."""
        return self.kind not in _DOUBTFUL

    @property
    def is_only_here(self) -> bool:
        """Whether the entry may be in order, and is only not to be read as things are here."""
        return self.kind in _ONLY_HERE

    def __str__(self) -> str:
        key = "" if self.key is None else f" {self.key}"
        return f"{self.kind}:{key} in {self.where}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {
            "kind": str(self.kind),
            "certain": self.is_certain,
            "where": self.where,
            "key": self.key,
            "what": self.what,
            "calls": [*self.calls],
        }


@dataclass
class Report:
    """What a verification found.

    Args:
        records: how many records were looked at.
        values: how many values.
        unproven: how many values were read, whose keys do not tell whether they are as they were:
            keys by chance, or made of bytes that are not stored.
        problems: what is wrong, or may be.
        orphans: values that no record needs, which `gc` removes; `None` if that was not looked for.
        leftovers: files that dead writers left, and that go by themselves.
        notes: what was not looked at, and why.
        repaired: the keys of what was evicted.
    """

    records: int = 0
    values: int = 0
    unproven: int = 0
    problems: list[Problem] = field(default_factory=list)
    orphans: list[Digest] | None = None
    leftovers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repaired: list[Digest] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong for sure."""
        return not any(problem.is_certain for problem in self.problems)

    def counts(self) -> dict[str, int]:
        """How many problems of each kind there are."""
        counted = Counter(str(problem.kind) for problem in self.problems)
        return dict(counted.most_common())

    def to_json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {
            "sound": self.is_sound,
            "records": self.records,
            "values": self.values,
            "unproven": self.unproven,
            "problems": [problem.to_json() for problem in self.problems],
            "orphans": self.orphans,
            "leftovers": self.leftovers,
            "notes": self.notes,
            "repaired": self.repaired,
        }
