"""`fleche convert`: copy a whole cache into one of another form."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake, cache_named, pairs

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["COMMAND"]

_TEMPLATES = ("sqlite", "pickle", "cloudpickle", "dill", "cbor", "sql", "bagofholding_hdf")


def _arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="NAME", help="the section to copy to")
    where.add_argument("--template", choices=_TEMPLATES, help="the form of the new cache")
    parser.add_argument("--root", metavar="FOLDER", help="where the new cache is, with --template")
    parser.add_argument(
        "--allow",
        metavar="PATTERN",
        action="append",
        help="names of classes that CBOR lets in, as 'mypackage.*'; may be given several times",
    )
    parser.add_argument(
        "--compress",
        nargs="?",
        const="gzip",
        choices=("gzip", "zstd"),
        help="compress the new files, by gzip unless another way is given",
    )
    parser.add_argument(
        "--remaining-depth",
        type=int,
        metavar="N",
        help="parts of a value nested at least this deep are stored apart, and shared",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.copying import copy

    source = cache_named(given.cache)
    config = None if given.template is None else _config(given)
    target = cache_named(given.to) if config is None else _new(config)
    _check_apart(source, target)
    done = copy(source.query(), source, target, output, verify=True)

    def show() -> None:
        done.say(output)
        if config is not None and not done.failed:
            from fleche.cli.toml import section

            output.say("nothing was removed; the new cache, as a section of a fleche.toml:")
            output.line(section("converted", config).rstrip())

    output.give({**done.data, "config": config}, show)
    return FOUND if done.failed else DONE


def _config(given: argparse.Namespace) -> dict[str, Any]:
    """The configuration of the new cache."""
    from fleche import _core
    from fleche.config.forms import expand_template
    from fleche.config.keys import STORAGES

    if given.root is None:
        raise Mistake("--template needs --root FOLDER: where the new cache is to be")
    root = _core.escape_variables(os.path.abspath(os.path.expanduser(given.root)))
    config = expand_template({"template": given.template, "root": root})
    if given.template == "sql":
        config["values"]["type"] = "pickle"
    takes = STORAGES["value"][config["values"]["type"]]
    if given.allow:
        if given.template != "cbor":
            raise Mistake("--allow is for --template cbor: what others store knows no such list")
        config["values"]["allow"] = given.allow
    if given.compress and "compress" not in takes:
        raise Mistake("bags are not compressed: leave --compress out, or choose another template")
    for kind in ("values", "calls") if given.compress else ():
        if "compress" in STORAGES[kind[:-1]][config[kind]["type"]]:
            config[kind]["compress"] = given.compress
    if given.remaining_depth is not None:
        config["values"]["remaining_depth"] = given.remaining_depth
    return config


def _new(config: dict[str, Any]) -> BaseCache:
    from fleche.config import cache_from_config

    return cache_from_config(config)


def _check_apart(source: BaseCache, target: BaseCache) -> None:
    """Refuse to copy a cache into itself."""
    from fleche.caches.garbage.places import place_of

    def places(cache: BaseCache) -> set[Any]:
        found = [place_of(each) for pair in pairs(cache) for each in (pair.values, pair.calls)]
        return {place for place in found if place is not None}

    if source == target or places(source) & places(target):
        raise Mistake("the new cache would be where the old one is: choose another --root or --to")


COMMAND = Command(
    help="copy everything into a cache of another form, and read each call back",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche convert --template sql --root ~/results", "values in files, calls in SQLite"),
        ("fleche convert --template cbor --root ~/data --allow 'mine.*'", "before an upgrade"),
        ("fleche convert --to archive", "to the section [archive]; run again, it goes on"),
    ),
)
