"""`fleche key`: the key that signs what is handed on, and those that are trusted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output

if TYPE_CHECKING:
    from fleche.export.keys import SigningKey

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--trust", nargs=2, metavar=("NAME", "PUBLICKEY"), help="take files that this key signed"
    )
    group.add_argument("--list", action="store_true", help="the keys that are trusted")
    group.add_argument("--remove", metavar="NAME", help="take no more files of this key")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.export import keys

    if given.trust:
        name, text = given.trust
        public = keys.read_public(text)
        keys.trust(name, public)
        output.give(
            {"name": name, "public_key": keys.shown_public(public)},
            lambda: output.line(f"files of {name} ({keys.fingerprint(public)}) are taken from now"),
        )
    elif given.remove is not None:
        keys.untrust(given.remove)
        output.give(
            {"removed": given.remove},
            lambda: output.line(f"files of {given.remove} are not taken any longer"),
        )
    elif given.list:
        known = keys.trusted_keys()
        rows = [(n, keys.fingerprint(p), keys.shown_public(p)) for n, p in known.items()]
        titles = ("name", "fingerprint", "public key")
        output.give(
            [{"name": n, "fingerprint": f, "public_key": p} for n, f, p in rows],
            lambda: output.table([Column(title) for title in titles], rows),
        )
    else:
        key, made = keys.make_key()
        _give_own(key, made, output)
    return DONE


def _give_own(key: SigningKey, made: bool, output: Output) -> None:
    from fleche.export import keys

    public = keys.shown_public(key.public)
    if made:
        output.say(f"made a key in {str(keys.key_folder())!r}; keep it to yourself")
    output.say(f"fingerprint {keys.fingerprint(key.public)}; the public key, to be handed on:")
    output.give({"public_key": public, "made": made}, lambda: output.line(public))


COMMAND = Command(
    help="make the key that signs what you hand on, and say whose files you take",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche key", "makes your key, once, and prints the public one"),
        ("fleche key --trust ada ed25519:2d16...", "take files that ada signed"),
    ),
    takes_cache=False,
)
