"""Digests expressions with whichever `fleche` is installed.

The reference does it in a process of its own (`python oracle.py`: a JSON list of expressions a
line in, one of outcomes a line out), ours in the process of the tests.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

#: What the expressions refer to.
PRELUDE = Path(__file__).with_name("prelude.py")


def namespace() -> dict[str, Any]:
    """The names of the prelude, defined with the installed `fleche`."""
    names: dict[str, Any] = {"__name__": "prelude"}
    exec(compile(PRELUDE.read_text(), "prelude.py", "exec", dont_inherit=True), names)
    return names


def outcome(names: dict[str, Any], expression: str) -> list[str]:
    """What becomes of a value: its digest, or the kind of failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = eval(expression, names)
        except Exception as error:
            return ["no value", type(error).__name__]
        try:
            return ["digest", str(names["digest"](value))]
        except names["Indigestible"]:
            return ["indigestible", ""]
        except Exception as error:
            return ["error", type(error).__name__]


def serve() -> None:
    """Answers requests until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    names = namespace()
    for line in sys.stdin:
        outcomes = [outcome(names, expression) for expression in json.loads(line)]
        print(json.dumps(outcomes), file=answers, flush=True)


if __name__ == "__main__":
    serve()
