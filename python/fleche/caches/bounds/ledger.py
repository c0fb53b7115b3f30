"""The account of a store: its calls, and the values that these need, in an SQLite database.

Every value counts once, however many calls need it. What is written here is never needed to find a
result: it may be lost, and is made again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fleche.caches.bounds.database import Database
from fleche.caches.bounds.entries import Entry

__all__ = ["EVERYTHING", "GONE", "KEPT", "STORED", "UNREAD", "Ledger"]

#: What is known of a call: its key alone; all of it; that its record is there without its values;
#: that it was evicted, and that calls which are stored were computed from it.
UNREAD, STORED, KEPT, GONE = range(4)

#: The row of `functions` that is about all calls.
EVERYTHING = 0

# So many variables every SQLite takes in one statement.
_VARIABLES = 500

# So many evicted calls are remembered, to be told by `explain`.
_REMEMBERED = 10_000

_ORDERS = {
    "oldest": "id",
    "lru": "used, id",
    "lfu": "uses, used, id",
    "cheapest": "cost, id",
    "age": "saved, id",
}

# The seconds that computing a call again takes, with those of all calls below it that are no longer
# stored: `seconds` of the call itself, and of its makers as far as they were evicted.
_BELOW = """
WITH RECURSIVE below(id) AS (
    SELECT id FROM edges JOIN calls ON id = maker WHERE taker = ?1 AND state >= 2
    UNION
    SELECT calls.id FROM below JOIN edges ON taker = below.id JOIN calls ON calls.id = maker
    WHERE state >= 2)
SELECT id, seconds FROM calls WHERE id IN below OR id = ?1
"""

_ABOVE = """
WITH RECURSIVE above(id) AS (
    SELECT taker FROM edges WHERE maker = ?1
    UNION
    SELECT taker FROM above JOIN calls ON calls.id = above.id JOIN edges ON maker = above.id
    WHERE state >= 2)
UPDATE calls SET cost = 0 WHERE id IN above AND state = 1
"""


class Ledger(Database):
    """The account of a store."""

    # Calls

    def put(self, entry: Entry) -> int:
        """Account for a call; one that is there under its key is replaced. Gives its number.

        One of which only the key was known keeps its place among the others.
        """
        run = self.db.execute
        number, uses, old = None, 0, self._row(entry.key)
        takers: list[int] = []
        if old is not None:
            if old[2] == UNREAD:
                number = old[0]
            uses = run("SELECT uses FROM calls WHERE id = ?", (old[0],)).fetchone()[0]
            takers = [row[0] for row in run("SELECT taker FROM edges WHERE maker = ?", (old[0],))]
            self._release(*old)
            self._forget(old[0])
        function = self.function(entry.module, entry.name)
        state = STORED if entry.is_whole else KEPT
        tick = self.tick()
        number = run(
            "INSERT INTO calls (id, key, function, state, bytes, seconds, saved, used, uses) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(number, entry.key, function, state),
                *(entry.bytes, entry.seconds, entry.saved, tick, uses),
            ),
        ).lastrowid
        assert number is not None
        if state == STORED:
            self._add(number, function, entry)
        # What was computed from it then, can be computed from it again.
        for taker in takers:
            run("INSERT OR IGNORE INTO edges VALUES (?, ?)", (taker, number))
        if takers:
            # They cost less from now on.
            run(_ABOVE, (number,))
        if entry.made or entry.taken:
            self._join(number, entry)
        return number

    def _add(self, call: int, function: int, entry: Entry) -> None:
        run = self.db.execute
        more = of_function = entry.bytes
        counted = function in self._counted
        known = self.held(entry.needs)
        needs = []
        for key, size in entry.needs.items():
            value, length, refs = known.get(key, (None, size, 0))
            if value is None:
                value = run(
                    "INSERT INTO held (key, bytes, refs) VALUES (?, ?, 1)", (key, size)
                ).lastrowid
            elif refs:
                size = length
                run("UPDATE held SET refs = refs + 1 WHERE id = ?", (value,))
            else:
                run("UPDATE held SET refs = 1, bytes = ? WHERE id = ?", (size, value))
                run("DELETE FROM garbage WHERE value = ?", (value,))
            if not refs:
                more += size
            needs.append((call, value))
            if counted:
                of_function += self._share(function, value, size)
        self.db.executemany("INSERT INTO needs VALUES (?, ?)", needs)
        self._count(EVERYTHING, 1, more)
        self._count(function, 1, of_function if counted else 0)

    def held(self, keys: Iterable[bytes]) -> dict[bytes, tuple[int, int, int]]:
        """Of values that are known: their numbers, their bytes, and how many calls need them."""
        wanted = [*keys]
        found: dict[bytes, tuple[int, int, int]] = {}
        for start in range(0, len(wanted), _VARIABLES):
            some = wanted[start : start + _VARIABLES]
            marks = ",".join("?" * len(some))
            rows = self.db.execute(
                f"SELECT key, id, bytes, refs FROM held WHERE key IN ({marks})", some
            )
            found.update((key, (value, size, refs)) for key, value, size, refs in rows)
        return found

    def _share(self, function: int, value: Any, size: int) -> int:
        run = self.db.execute
        new = run("INSERT OR IGNORE INTO shares VALUES (?, ?, 1)", (function, value)).rowcount
        if not new:
            run(
                "UPDATE shares SET refs = refs + 1 WHERE function = ? AND value = ?",
                (function, value),
            )
        return size if new else 0

    def _release(self, call: int, function: int, state: int, size: int) -> int:
        """Take back what a call needs; gives the bytes that nobody needs any more."""
        if state != STORED:
            return 0
        run = self.db.execute
        counted = function in self._counted
        free: int = size
        of_function: int = size
        rows = run(
            "SELECT held.id, bytes, refs FROM needs JOIN held ON held.id = value WHERE call = ?",
            (call,),
        ).fetchall()
        garbage = [(value,) for value, _, refs in rows if refs == 1]
        free += sum(length for _, length, refs in rows if refs == 1)
        run(
            "UPDATE held SET refs = refs - 1 WHERE id IN (SELECT value FROM needs WHERE call = ?)",
            (call,),
        )
        self.db.executemany("INSERT OR IGNORE INTO garbage VALUES (?)", garbage)
        run("DELETE FROM needs WHERE call = ?", (call,))
        for value, length, refs in rows:
            if refs == 2 and "cheapest" in self._ordered:
                # Who is left needs it alone.
                run(
                    "UPDATE calls SET cost = 0 WHERE id IN "
                    "(SELECT call FROM needs WHERE value = ?)",
                    (value,),
                )
            if counted:
                left = run(
                    "UPDATE shares SET refs = refs - 1 WHERE function = ? AND value = ? "
                    "RETURNING refs",
                    (function, value),
                ).fetchone()
                if left == (0,):
                    of_function += length
                    run("DELETE FROM shares WHERE function = ? AND value = ?", (function, value))
        self._count(EVERYTHING, -1, -free)
        self._count(function, -1, -of_function if counted else 0)
        return free

    def drop(self, key: bytes) -> None:
        """Account for a call that is not there any more."""
        row = self._row(key)
        if row is None or row[2] == GONE:
            return
        self._release(*row)
        self._end(row[0])

    def evict(self, call: int, keep_record: bool, why: str) -> int:
        """Account for a call that a limit evicts; gives the bytes that are free for it."""
        run = self.db.execute
        key, function, state, size = run(
            "SELECT key, function, state, bytes FROM calls WHERE id = ?", (call,)
        ).fetchone()
        free = self._release(call, function, state, size)
        if keep_record:
            free -= size
            run("UPDATE calls SET state = ? WHERE id = ?", (KEPT, call))
        else:
            self._end(call)
        row = run(
            "INSERT OR REPLACE INTO evicted (key, at, why) VALUES (?, ?, ?)",
            (key, time.time(), why),
        ).lastrowid
        if row is not None and row % 100 == 0:
            run("DELETE FROM evicted WHERE id <= ?", (row - _REMEMBERED,))
        return free

    def _end(self, call: int) -> None:
        """Forget a call, unless calls that are stored were computed from it."""
        run = self.db.execute
        if not self.meta("contents"):
            run("DELETE FROM calls WHERE id = ?", (call,))
            return
        waiting = [call]
        while waiting:
            call = waiting.pop()
            if run("SELECT 1 FROM edges WHERE maker = ? LIMIT 1", (call,)).fetchone():
                run("UPDATE calls SET state = ? WHERE id = ?", (GONE, call))
                continue
            makers = run("SELECT maker FROM edges WHERE taker = ?", (call,)).fetchall()
            self._forget(call)
            for (maker,) in makers:
                state = run("SELECT state FROM calls WHERE id = ?", (maker,)).fetchone()
                if state is not None and state[0] == GONE:
                    waiting.append(maker)

    def _forget(self, call: int) -> None:
        for statement in (
            "DELETE FROM edges WHERE taker = ?",
            "DELETE FROM edges WHERE maker = ?",
            "DELETE FROM made WHERE call = ?",
            "DELETE FROM calls WHERE id = ?",
        ):
            self.db.execute(statement, (call,))

    def _row(self, key: bytes) -> Any:
        return self.db.execute(
            "SELECT id, function, state, bytes FROM calls WHERE key = ?", (key,)
        ).fetchone()

    # Calls of which only the key is known

    def note(self, key: bytes) -> None:
        """Note that a call has to be looked at."""
        row = self._row(key)
        if row is None:
            self.db.execute("INSERT INTO calls (key, state) VALUES (?, 0)", (key,))
        else:
            self._release(*row)
            self.db.execute("UPDATE calls SET state = 0 WHERE id = ?", (row[0],))

    def unread(self, start: int, most: int) -> list[bytes]:
        """Calls that have to be looked at, the one saved longest ago first.

        Args:
            start: how many to leave out.
            most: how many to give.
        """
        rows = self.db.execute(
            "SELECT key FROM calls WHERE state = 0 ORDER BY id LIMIT ? OFFSET ?", (most, start)
        )
        return [row[0] for row in rows]

    def read_again(self) -> None:
        """Have every call looked at again, each in its place."""
        for key in self.db.execute("SELECT key FROM calls WHERE state = 1").fetchall():
            self.note(key[0])

    def drop_unread(self, key: bytes) -> None:
        """Forget a call of which only the key was known."""
        row = self._row(key)
        if row is not None and row[2] == UNREAD:
            self._end(row[0])

    def keys(self) -> set[bytes]:
        """The keys of all calls whose record is there."""
        return {row[0] for row in self.db.execute("SELECT key FROM calls WHERE state != 3")}

    def kept(self) -> list[bytes]:
        """The keys of calls whose records are there without their values."""
        return [row[0] for row in self.db.execute("SELECT key FROM calls WHERE state = 2")]

    def has(self, key: bytes) -> bool:
        """Whether there is a record under a key, as far as is known."""
        row = self._row(key)
        return row is not None and row[2] != GONE

    def count(self) -> int:
        """How many calls there are whose record is there."""
        return int(self.db.execute("SELECT count(*) FROM calls WHERE state != 3").fetchone()[0])

    # Functions, and how much there is

    def function(self, module: str | None, name: str) -> int:
        """The number of a function."""
        known = self._functions.get((module, name))
        if known is not None:
            return known
        run = self.db.execute
        found = run(
            "SELECT id FROM functions WHERE name = ? AND module = ?", (name, module or "")
        ).fetchone()
        number = int(found[0]) if found else 0
        if not found:
            added = run("INSERT INTO functions (module, name) VALUES (?, ?)", (module or "", name))
            number = added.lastrowid or 0
        self._functions[module, name] = number
        return number

    def function_of(self, call: int) -> tuple[str, str | None]:
        """The name and the module of a call's function."""
        name, module = self.db.execute(
            "SELECT name, module FROM functions WHERE id = "
            "(SELECT function FROM calls WHERE id = ?)",
            (call,),
        ).fetchone()
        return name, module or None

    def functions_named(self, name: str) -> list[int]:
        """The functions that are written `module.name` so, or have this name and no module."""
        rows = self.db.execute(
            "SELECT id FROM functions WHERE id != 0 AND "
            "CASE module WHEN '' THEN name ELSE module || '.' || name END = ?",
            (name,),
        )
        return [row[0] for row in rows]

    def room(self, function: int = EVERYTHING) -> tuple[int, int]:
        """How many calls are stored, of a function or all, and their bytes with their values."""
        row = self.db.execute("SELECT calls, bytes FROM functions WHERE id = ?", (function,))
        calls, size = row.fetchone()
        return calls, size

    def count_bytes_of(self, function: int) -> None:
        """Have the bytes of a function counted from now on, those that are there at once."""
        if function in self._counted:
            return
        self._counted.add(function)
        run = self.db.execute
        run(
            "INSERT INTO shares SELECT function, value, count(*) FROM needs "
            "JOIN calls ON calls.id = call WHERE function = ? GROUP BY value",
            (function,),
        )
        run(
            "UPDATE functions SET counted = 1, bytes = "
            "(SELECT coalesce(sum(bytes), 0) FROM calls WHERE function = ?1 AND state = 1) + "
            "(SELECT coalesce(sum(bytes), 0) FROM shares JOIN held ON held.id = value "
            "WHERE function = ?1) WHERE id = ?1",
            (function,),
        )

    def _count(self, function: int, calls: int, size: int) -> None:
        self.db.execute(
            "UPDATE functions SET calls = calls + ?, bytes = bytes + ? WHERE id = ?",
            (calls, size, function),
        )

    # Which goes first

    def tick(self) -> int:
        """A number that is greater than those before: the order of uses is nobody's clock."""
        self.set_meta("tick", (self.meta("tick") or 0) + 1)
        return int(self.meta("tick"))

    def use(self, key: bytes, count: int) -> None:
        """Account for hits of a call, the last of which is the last one of all."""
        self.db.execute(
            "UPDATE calls SET used = ?, uses = uses + ? WHERE key = ?", (self.tick(), count, key)
        )

    def order(self, policy: str, per_function: bool) -> None:
        """Have calls in the order of a policy at hand."""
        name = f"by_{policy}{'_of_function' if per_function else ''}"
        if policy == "cheapest":
            self._ordered.add("cheapest")
        if name in self._ordered:
            return
        columns = _ORDERS[policy]
        if per_function:
            columns = f"function, {columns}"
        run = self.db.execute
        run(f"CREATE INDEX IF NOT EXISTS {name} ON calls ({columns}) WHERE state = 1")
        if policy == "cheapest":
            run("CREATE INDEX IF NOT EXISTS needs_by_value ON needs (value)")
        self._ordered.add(name)

    def first(self, policy: str, function: int, spared: bytes | None) -> Any:
        """The number and key of the call that goes first; `None` if there is none.

        Args:
            policy: which one that is.
            function: of which function; `EVERYTHING`: of all.
            spared: the key of one that stays in any case.
        """
        of = "" if function == EVERYTHING else "AND function = ?2"
        # SQLite would rather read the few of a function than an order.
        by = f"by_{policy}{'_of_function' if function != EVERYTHING else ''}"
        statement = (
            f"SELECT id, key, saved FROM calls INDEXED BY {by} WHERE state = 1 {of} "
            f"AND key IS NOT ?1 ORDER BY {_ORDERS[policy]} LIMIT 1"
        )
        given = (spared,) if function == EVERYTHING else (spared, function)
        while True:
            found = self.db.execute(statement, given).fetchone()
            if found is None or policy != "cheapest":
                return found
            # What is written is never more than it is: producers went, or others came to share.
            written = self.db.execute("SELECT cost FROM calls WHERE id = ?", found[:1]).fetchone()
            cost = self.cost(found[0])
            if cost == written[0]:
                return found
            self.db.execute("UPDATE calls SET cost = ? WHERE id = ?", (cost, found[0]))

    def below(self, call: int) -> dict[int, float]:
        """The calls that are computed to get a call back, and their seconds: it and those below it
        that are no longer stored."""
        return dict(self.db.execute(_BELOW, (call,)).fetchall())

    def cost(self, call: int) -> float:
        """Seconds per byte that would be free."""
        return sum(self.below(call).values()) / max(self.freed(call), 1)

    def freed(self, call: int) -> int:
        """The bytes that would be free without a call."""
        row = self.db.execute(
            "SELECT bytes + (SELECT coalesce(sum(held.bytes), 0) FROM needs "
            "JOIN held ON held.id = value WHERE call = ?1 AND refs = 1) "
            "FROM calls WHERE id = ?1",
            (call,),
        ).fetchone()
        return int(row[0])

    def _join(self, call: int, entry: Entry) -> None:
        """Note what a call made, and by which calls what it took was made."""
        run = self.db.execute
        for content in dict.fromkeys(entry.made):
            run("INSERT OR IGNORE INTO made VALUES (?, ?)", (content, call))
        for contents in entry.taken:
            for place, content in enumerate(contents):
                maker = run(
                    "SELECT call FROM made WHERE content = ? AND call != ? ORDER BY call DESC "
                    "LIMIT 1",
                    (content, call),
                ).fetchone()
                if maker is not None:
                    run("INSERT OR IGNORE INTO edges VALUES (?, ?)", (call, maker[0]))
                    if not place:
                        # What was made as a whole is not taken apart.
                        break

    # Values that no call needs

    def garbage(self, most: int) -> list[tuple[int, bytes]]:
        """Numbers and keys of values that no call needs any more."""
        return self.db.execute(
            "SELECT held.id, key FROM garbage JOIN held ON held.id = value LIMIT ?", (most,)
        ).fetchall()

    def has_garbage(self, most: int) -> int:
        """How many such values there are; counted no further than is asked for."""
        rows = self.db.execute("SELECT 1 FROM garbage LIMIT ?", (most,))
        return len(rows.fetchall())

    def forget_values(self, numbers: Iterable[int]) -> None:
        """Account for values that no call needed, and that were removed."""
        given = [(number,) for number in numbers]
        self.db.executemany("DELETE FROM garbage WHERE value = ?", given)
        self.db.executemany("DELETE FROM held WHERE id = ?", given)

    def add_opaque(self, kind: str, key: bytes) -> None:
        """Note an entry that cannot be read here: what it needs is told by its bytes alone."""
        self.db.execute("INSERT OR IGNORE INTO opaque VALUES (?, ?)", (kind, key))

    def opaque(self, most: int) -> list[tuple[str, bytes]]:
        """The kinds and keys of such entries."""
        return self.db.execute("SELECT kind, key FROM opaque LIMIT ?", (most,)).fetchall()

    def why_evicted(self, key: bytes) -> tuple[float, str] | None:
        """When and why a limit evicted a call; `None` if none did, or so long ago that it is
        forgotten."""
        row = self.db.execute("SELECT at, why FROM evicted WHERE key = ?", (key,)).fetchone()
        return None if row is None else (row[0], row[1])
