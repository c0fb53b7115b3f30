"""The command line, `fleche` or `python -m fleche`.

It may import everything. A new command is a file here, and a line in the parser.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fleche import _core

_EXAMPLES = """\
examples:
  python -m fleche remote --serve                  serve the default cache of this machine
  python -m fleche remote --serve --cache shared   serve the cache [shared] of its fleche.toml

Nobody types these: a cache of type "ssh", on another machine, runs them over ssh.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleche" if os.path.basename(sys.argv[0]).startswith("fleche") else "python -m fleche",
        description="A persistent cache of function results.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fleche {_core.VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="{remote}")
    remote = commands.add_parser(
        "remote",
        help="run the remote cache RPC server (used by SshCache)",
        description="Serve a cache of this machine to an SshCache on another one.",
    )
    remote.add_argument(
        "--serve",
        action="store_true",
        help="run the cache server reading RPC frames from stdin",
    )
    remote.add_argument(
        "--cache",
        help="named cache from the local fleche.toml (default: the file's default)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status.

    Args:
        arguments: the words after `python -m fleche`; those of this process if not given.

    Raises:
        SystemExit: after help, a version or a mistake.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help(sys.stderr)
        return 2
    if not given.serve:
        parser.error("nothing to do; pass --serve to run the cache server")
    from fleche.remote.server import run

    return run(given.cache)
