"""`fleche remote --serve`: the server that a cache of type `ssh` runs on another machine."""

from __future__ import annotations

import argparse

from fleche.cli.command import MISTAKE, Command
from fleche.cli.output import Output

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--serve",
        action="store_true",
        help="run the cache server reading RPC frames from stdin",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    if not given.serve:
        output.say("nothing to do; pass --serve to run the cache server")
        return MISTAKE
    from fleche.remote.server import run

    return run(given.cache)


COMMAND = Command(
    help="run the remote cache RPC server (used by SshCache)",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche remote --serve", "serve the default cache of this machine"),
        ("fleche remote --serve --cache shared", "serve the cache [shared] of its fleche.toml"),
    ),
    takes_json=False,
)
