"""Writes `code_digests.json`: the digests of `code_sample.py`, which no version of Python changes.

`python tests/data/make_code_digests.py`, or with `--show` to see what this Python says.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from fleche.digest import digest

HERE = Path(__file__).parent


def digests() -> dict[str, str]:
    """The digests of the functions and classes of the sample, by name."""
    spec = importlib.util.spec_from_file_location("code_sample", HERE / "code_sample.py")
    assert spec is not None
    assert spec.loader is not None
    sample = importlib.util.module_from_spec(spec)
    sys.modules["code_sample"] = sample
    spec.loader.exec_module(sample)
    names = [name for name in sorted(vars(sample)) if name[0] in "fC" and name[1:].isdigit()]
    return {name: digest(getattr(sample, name)) for name in names}


if __name__ == "__main__":
    text = json.dumps(digests(), indent=0) + "\n"
    if "--show" in sys.argv:
        print(text)
    else:
        (HERE / "code_digests.json").write_text(text, encoding="utf-8")
