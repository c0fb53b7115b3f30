"""Writes `exact_digests.json`: the digests, untyped and typed, that scheme `exact` must keep.

Run it after adding expressions; a digest that is there already must not change unless the format
does, with `docs/design.md`: `python tests/data/make_exact_digests.py`.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from fleche import _core

HERE = Path(__file__).parent


def main() -> None:
    """Compute and write all vectors."""
    shared = runpy.run_path(str(HERE / "digest_expressions.py"), run_name="digest_expressions")
    vectors = {
        expression: [
            _core.digest(shared["evaluate"](expression), typed=typed, scheme="exact")
            for typed in (False, True)
        ]
        for expression in shared["GOLDEN"]
    }
    text = json.dumps(vectors, indent=0, ensure_ascii=True)
    (HERE / "exact_digests.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
