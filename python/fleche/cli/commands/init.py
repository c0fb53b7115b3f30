"""`fleche init`: write a `fleche.toml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleche.cli.command import CONFIRM, DONE, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake

__all__ = ["COMMAND"]

_FILE = "fleche.toml"
_ROOT = ".fleche"

# What each template is for, the recommended one first.
_TEMPLATES = {
    "sqlite": "an SQLite database, large results in files beside it; fast, few files",
    "pickle": "a file for each value and call; for network file systems, too",
    "sql": "results in files, calls in an SQLite database; for many calls, and many queries",
    "cloudpickle": "files; takes functions and classes of scripts and notebooks, too",
    "dill": "files; as cloudpickle, by dill",
    "cbor": "data in files, calls in an SQLite database; whoever writes there can run no code here",
    "bagofholding_hdf": "HDF5 files, which other programs can read; slower",
}

_TEXT = """\
# The caches of this folder and those below it: `fleche config` shows what is in force.

[default]
cache = "results" # the section that is used where a program names none
# What is recorded of each call: "Environment" is host, user and versions, "Git" the commit.
metadata = ["Runtime", "Environment"]

[results] # {about}
template = "{template}"
root = {root} # relative to this file; $VARIABLES and ~ are expanded
{more}# once = true      # of all who want a call at the same time, one computes it
# max_size = 10000 # the oldest calls go once there are more
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", metavar="FOLDER", help=f"where the results are (default {_ROOT})")
    parser.add_argument(
        "--template", choices=_TEMPLATES, help="how they are stored (default sqlite)"
    )
    parser.add_argument(
        "--yes", action="store_true", help="ask nothing; what is not given is the default"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.toml import value

    path = Path.cwd() / _FILE
    if path.exists():
        raise Mistake(f"{path} is there already: edit it, or remove it first")
    root, template = given.root, given.template
    if not given.yes and (root is None or template is None):
        if not sys.stdin.isatty() and not _answers(sys.stdin):
            output.say("nothing was written: say --yes, or answer at a terminal")
            return CONFIRM
        root = root or _ask(f"Where should the results be? [{_ROOT}] ", output)
        template = template or _choose(output)
    root, template = root or _ROOT, template or "sqlite"
    text = _TEXT.format(
        about=_TEMPLATES[template],
        template=template,
        root=value(root),
        more='values = "pickle" # in which files; "cloudpickle" takes classes of scripts, too\n'
        if template == "sql"
        else "",
    )
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Mistake(f"{path} is there already: edit it, or remove it first") from None

    def show() -> None:
        output.say(f"wrote {path}")
        output.say("next: decorate a function by @fleche, call it twice, and look: fleche ls")
        if not Path(root).expanduser().is_absolute() and "$" not in root:
            output.say(f"results are not for version control: add {root}/ to .gitignore")

    output.give({"file": str(path), "root": root, "template": template}, show)
    return DONE


def _answers(stream: object) -> bool:
    """Whether answers come from a file or a program."""
    import os
    import stat

    try:
        return not stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False


def _ask(question: str, output: Output) -> str | None:
    output.say(question)
    answer = sys.stdin.readline()
    if not answer:
        raise Mistake("nothing was written: the questions were not answered; --yes asks none")
    return answer.strip() or None


def _choose(output: Output) -> str | None:
    names = list(_TEMPLATES)
    output.say("How should they be stored?")
    for number, name in enumerate(names, 1):
        recommended = " (recommended)" if number == 1 else ""
        output.say(f"  {number}  {name}: {_TEMPLATES[name]}{recommended}")
    while True:
        answer = _ask("[1] ", output)
        if answer is None or answer in _TEMPLATES:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        output.say(f"{answer!r} is none of them: write a number from 1 to {len(names)}")


COMMAND = Command(
    help="write a fleche.toml here, with comments; never over one that is there",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche init", "asks where, and how"),
        ("fleche init --yes --template sql --root '$SCRATCH/results'", "asks nothing"),
    ),
    takes_cache=False,
)
