"""What a command is, and which there are."""

from __future__ import annotations

import argparse
import importlib
import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleche.cli.output import Output

__all__ = [
    "COMMANDS",
    "CONFIRM",
    "DONE",
    "FOUND",
    "INTERRUPTED",
    "MISTAKE",
    "Command",
    "fill",
    "load",
    "parser_of",
]

#: Exit statuses: done; something was found that is wrong, or nothing that was looked for; a mistake
#: in what was asked; nothing was changed, as `--yes` was not given; ended by Ctrl-C.
DONE, FOUND, MISTAKE, CONFIRM, INTERRUPTED = 0, 1, 2, 3, 130

#: The commands, in the order in which help shows them: their modules are below
#: `fleche.cli.commands`.
COMMANDS = (
    *("init", "config", "ls", "find", "show", "du", "stats", "explain", "lineage", "report"),
    *(
        "evict",
        "gc",
        "plan",
        "flush",
        "transfer",
        "convert",
        "backup",
        "verify",
        "audit",
        "promote",
        "doctor",
    ),
    *("export", "import", "check", "key", "completion", "remote"),
)


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        help: what it does, in a line.
        run: does it; gives the exit status.
        arguments: adds what it takes to its parser.
        examples: lines for the end of its help, each a command and what it does.
        takes_cache: whether it is about a cache: it takes `--cache NAME`.
        takes_json: whether it gives something: it takes `--json`.
    """

    help: str
    run: Callable[[argparse.Namespace, Output], int]
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    examples: tuple[tuple[str, str], ...] = ()
    takes_cache: bool = True
    takes_json: bool = True


def fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add what a command takes to its parser."""
    command.arguments(parser)
    if command.takes_cache:
        parser.add_argument(
            "--cache",
            metavar="NAME",
            help="named cache from the local fleche.toml (default: its default)",
        )
    if command.takes_json:
        parser.add_argument("--json", action="store_true", help="print JSON for programs")


def parser_of(command: Command, name: str) -> argparse.ArgumentParser:
    """A parser of what a command takes, alone."""
    parser = argparse.ArgumentParser(prog=f"fleche {name}")
    fill(parser, command)
    return parser


def load(name: str) -> Command:
    """The command of this name."""
    module_name = name.replace("-", "_")
    if keyword.iskeyword(module_name):
        module_name += "_"
    module = importlib.import_module(f"fleche.cli.commands.{module_name}")
    command: Command = module.COMMAND
    return command
