"""`fleche config`: the configuration in force, and what is wrong with it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake

__all__ = ["COMMAND", "mistakes"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="SECTION", help="only this section")
    parser.add_argument(
        "--path", action="store_true", help="print only the files that count, the first wins"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    files = _files()
    counting = [each["path"] for each in files if each["counts"]]
    if given.path:
        output.give(counting, lambda: _show_paths(counting, output))
        return DONE
    merged = _merged()
    if given.name is not None and given.name not in merged:
        from fleche.config.keys import suggestion

        raise Mistake(f"there is no section {given.name!r}. {suggestion(given.name, merged)}")
    every = sorted(merged, key=lambda name: (name != "default", name))
    names = every if given.name is None else [given.name]
    sections = [_section(name, merged[name], counting) for name in names]
    found = mistakes()
    data = {"files": files, "sections": sections, "mistakes": found}
    output.give(data, lambda: _show(data, output))
    return FOUND if found else DONE


def _show_paths(paths: list[str], output: Output) -> None:
    for path in paths:
        output.line(path)


def _files() -> list[dict[str, Any]]:
    """The files in their order, and why some do not count."""
    from fleche import _core
    from fleche.config import _collect_config_paths, _is_root_config

    found: list[dict[str, Any]] = []
    root = None
    for path in _collect_config_paths():
        each: dict[str, Any] = {"path": str(path), "counts": root is None, "problem": None}
        try:
            config = _core.read_config(path)
        except (OSError, ValueError) as error:
            config = {}
            each["counts"], each["problem"] = False, f"cannot be read: {error}"
        if root is not None:
            each["problem"] = f"not read: {root} says root = true"
        elif _is_root_config(config):
            root = path
        found.append(each)
    return found


def _merged() -> dict[str, Any]:
    from fleche.config import _load_merged_config

    logging.getLogger("fleche.config").addFilter(lambda record: False)
    return _load_merged_config()


def _section(name: str, config: Any, paths: list[str]) -> dict[str, Any]:
    from fleche.cli.sentences import hidden, sentence
    from fleche.config import _load_config

    own = [path for path in paths if name in _load_config(Path(path))]
    means = _default_means(config) if name == "default" else sentence(config)
    return {
        "name": name,
        "file": own[0] if own else None,
        "hides": own[1:],
        "means": means,
        "settings": hidden(config),
    }


def _default_means(config: Any) -> str:
    from fleche.cli.sentences import sentence

    if not isinstance(config, dict):
        return "expected a table"
    chosen = config.get("cache")
    if chosen is None:
        said = "the default cache is in memory, for the life of the process"
    elif isinstance(chosen, str):
        said = f"the default cache is {chosen!r}"
    else:
        said = f"the default cache: {sentence(chosen)}"
    metadata = config.get("metadata", ["Runtime"])
    if isinstance(metadata, list):
        said += f"; recorded of each call: {', '.join(map(str, metadata)) or 'nothing'}"
    return said


def mistakes() -> list[str]:
    """What is wrong with the files in force, each with file and section; nothing is opened."""
    from fleche.config import (
        _in_section,
        cache_from_config,
        default_section,
        keys,
        load_default_metadata,
    )
    from fleche.storage.base import OPENED_LATER

    found = [f"{each['path']}: {each['problem']}" for each in _files() if _is_broken(each)]
    merged = _merged()
    token = OPENED_LATER.set(True)
    try:
        for name, config in merged.items():
            try:
                if name != "default":
                    with _in_section(name):
                        cache_from_config(config)
                    continue
                load_default_metadata()
                chosen = default_section().get("cache")
                with _in_section("default"):
                    _check_default(chosen, merged)
            except (ValueError, ImportError, OSError) as error:
                notes = " ".join(getattr(error, "__notes__", ()))
                found.append(f"{error} ({notes})" if notes else str(error))
    finally:
        OPENED_LATER.reset(token)
    mistyped = keys.mistyped_default(merged)
    if mistyped is not None:
        found.append(f"[{mistyped}]: should it be [default]?")
    return found


def _is_broken(file: dict[str, Any]) -> bool:
    return not file["counts"] and str(file["problem"]).startswith("cannot")


def _check_default(chosen: Any, merged: dict[str, Any]) -> None:
    from fleche.config import cache_from_config
    from fleche.config.keys import suggestion

    if isinstance(chosen, str):
        known = {*merged, "memory", "void"} - {"default"}
        if chosen not in known:
            raise ValueError(f"cache: there is no section {chosen!r}. {suggestion(chosen, known)}")
    elif chosen is not None:
        cache_from_config(chosen)


def _show(data: dict[str, Any], output: Output) -> None:
    from fleche.cli.toml import section

    if not data["files"]:
        output.say("no fleche.toml counts here: results live in memory. `fleche init` writes one")
    for number, each in enumerate(data["files"], 1):
        problem = "" if each["problem"] is None else f"  ({each['problem']})"
        output.line(f"{number}. {each['path']}{problem}")
    for each in data["sections"]:
        output.line()
        output.line(f"# {each['means']}", "green")
        where = [f"from {each['file']}", *(f"hides that of {path}" for path in each["hides"])]
        output.line(f"# {', '.join(where)}", "green")
        for line in section(each["name"], each["settings"]).splitlines():
            output.line(line)
    for each in data["mistakes"]:
        output.say(f"mistake: {each}", "red")


COMMAND = Command(
    help="which files count, what they say and mean, and what is wrong with them",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche config", "all sections in force"),
        ("fleche config --path", "the files, the one that wins first"),
    ),
    takes_cache=False,
)
