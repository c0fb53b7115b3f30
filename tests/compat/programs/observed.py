"""What a program shows of itself: which bodies ran, results, exceptions, log lines."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Beside the store, in the folder where the program runs: workers of a pool write to it, too.
RAN = Path("ran.txt")


def ran(name: str, *arguments: object) -> None:
    """Say that the body of a cached function runs."""
    with RAN.open("a") as file:
        file.write(f"{name}{arguments!r}\n")


def drain() -> list[str]:
    """The bodies that ran since the last time, sorted: those of a pool come in any order."""
    lines = RAN.read_text().splitlines() if RAN.exists() else []
    RAN.unlink(missing_ok=True)
    return sorted(lines)


def shown(value: Any) -> Any:
    """`value` with its types, as JSON."""
    if isinstance(value, dict):
        return {f"{key!r}": shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(shown(item) for item in value)]
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return [type(value).__name__, str(value.dtype), repr(value.tolist())]
    return repr(value)


def outcome(action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `action` returns, or the type of what it raises."""
    try:
        return shown(action(*args, **kwargs))
    except KeyError:  # or what is one, as in an `except` clause
        return {"raised": "KeyError"}
    except Exception as error:
        return {"raised": type(error).__name__}


class Log(logging.Handler):
    """Counts the warnings and errors of the package by logger and level."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: Counter[str] = Counter()
        logger = logging.getLogger("fleche")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen[f"{record.name} {record.levelname}"] += 1

    def drain(self) -> dict[str, int]:
        seen, self.seen = dict(sorted(self.seen.items())), Counter()
        return seen


def table(frame: Any) -> dict[str, Any]:
    """The columns and rows of a table, without keys and without what differs from run to run."""
    measured = {"timestart", "timestop", "walltime", "cputime", "systime"}
    columns = [str(column) for column in frame.columns]
    kept = [column for column in columns if column not in measured]
    rows = [{name: shown(row[name]) for name in kept} for row in frame.to_dict("records")]
    return {
        "columns": columns,
        "dtypes": {name: str(frame[name].dtype) for name in kept},
        "times": [str(frame[name].dtype.kind) for name in columns if name in measured],
        "zones": [frame[name].dt.tz is not None for name in ("timestart", "timestop")]
        if "timestart" in columns
        else [],
        "rows": sorted(rows, key=json.dumps),
    }


def report(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=1))
