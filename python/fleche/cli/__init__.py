"""The command line, `fleche` or `python -m fleche`.

`command` says what a command is and lists them, `commands` holds one a file; `output` prints,
`shown` says how numbers and times are shown, `stores` finds the cache that a command is about,
`functions` reads what it holds by function, `report` is the page about it. It may import
everything.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fleche import _core
from fleche.cli.command import COMMANDS, INTERRUPTED, MISTAKE, Command, fill, load

__all__ = ["main"]

_EXAMPLES = """\
examples:
  fleche ls                 the functions whose calls the default cache holds
  fleche ls --cache shared  those in the cache [shared] of the fleche.toml in force
  fleche ls --help          what it takes

Exit status: 0 done, 1 something is wrong or was not found, 2 a mistake in what was asked, 3 nothing
was changed as --yes was not given, 130 ended by Ctrl-C.
"""


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    called = os.path.basename(sys.argv[0]).startswith("fleche")
    parser = argparse.ArgumentParser(
        prog="fleche" if called else "python -m fleche",
        description="A persistent cache of function results.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fleche {_core.VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in names:
        command = load(name)
        added = commands.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=_epilog(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        fill(added, command)
    return parser


def _epilog(command: Command) -> str | None:
    if not command.examples:
        return None
    width = max(len(text) for text, _ in command.examples)
    lines = [f"  {text.ljust(width)}  {what}" for text, what in command.examples]
    return "\n".join(["examples:", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status.

    Args:
        arguments: the words after `python -m fleche`; those of this process if not given.

    Raises:
        SystemExit: after help, a version or a mistake.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]
    # One command is loaded where one is named: a server starts at once.
    named = [word for word in words[:1] if word in COMMANDS]
    parser = _parser(named or COMMANDS)
    given = parser.parse_args(words)
    if given.command is None:
        parser.print_help(sys.stderr)
        return MISTAKE
    return _run(load(given.command), given)


def _run(command: Command, given: argparse.Namespace) -> int:
    from fleche.caches import Rejected
    from fleche.cli.output import Output
    from fleche.cli.stores import Mistake
    from fleche.remote.connection import RemoteConnectionError
    from fleche.security import SignatureError

    output = Output(getattr(given, "json", False))
    # Values are of classes in modules of the working directory, which `python -m` would find, too.
    if not sys.flags.safe_path and not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())
    # What a command may end with; anything else is a mistake of ours, with its traceback.
    ends = (
        Mistake,
        ValueError,
        Rejected,
        SignatureError,
        RemoteConnectionError,
        OSError,
        ImportError,
    )
    try:
        return command.run(given, output)
    except ends as error:
        if isinstance(error, BrokenPipeError):
            # Who read it has seen enough, as `head` has.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return INTERRUPTED
        # Some name the cache and the key beside what they say.
        said = error.args[0] if isinstance(error, Rejected) and error.args else error
        output.say(f"fleche: {said}", style="red")
        return MISTAKE
    except KeyboardInterrupt:
        output.say("fleche: interrupted")
        return INTERRUPTED
