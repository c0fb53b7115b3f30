"""Runs many small scripts in one process, as scripts are run; says what each printed and how often
the functions that they decorate ran.

    python run_programs.py PLAIN|CACHED STORE SCRIPT...
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import fleche
from fleche.caches import Cache
from fleche.storage import CallPickleFile, ValuePickleFile


def undecorated(function: Any = None, **_: Any) -> Any:
    return (lambda function: function) if function is None else function


def run(script: str) -> dict[str, Any]:
    printed = io.StringIO()
    error = ""
    names: dict[str, Any] = {}
    folder = os.path.dirname(script)
    ran: list[Any] = []
    faulthandler.dump_traceback_later(20, exit=True)
    sys.path.insert(0, folder)
    loaded = set(sys.modules)
    try:
        with contextlib.redirect_stdout(printed):
            names = runpy.run_path(script, {"ran": ran}, run_name="__main__")
    except BaseException:
        error = traceback.format_exc()
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - loaded:
            if getattr(sys.modules[name], "__file__", None) is None or folder in str(
                sys.modules[name].__file__
            ):
                del sys.modules[name]
        faulthandler.cancel_dump_traceback_later()
    del names
    return {"printed": printed.getvalue(), "ran": len(ran), "error": error}


def main(mode: str, store: str, scripts: str) -> None:
    files = json.loads(Path(scripts).read_text())
    if mode == "plain":
        fleche.fleche = undecorated  # type: ignore[assignment]
        json.dump([run(file) for file in files], sys.stdout)
        return
    values = ValuePickleFile(Path(store, "values"))
    with fleche.cache(Cache(values, CallPickleFile(Path(store, "calls")))):
        done = [run(file) for file in files]
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
