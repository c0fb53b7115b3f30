"""What `fleche doctor --against` looks at: values, and the packages that they need.

A pickle names the classes and functions that it needs; nothing of it is run. It does not say by
which versions of their packages it was made. That is told by the file's time: what was written
since a package was installed in its present version was written by that.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fleche._foundation.messages import no_message
from fleche.caches.garbage.places import place_of
from fleche.cli.checks import Finding
from fleche.cli.named import cannot_be_imported
from fleche.cli.requirements import Requirement, name_in, normalised
from fleche.cli.stores import pairs
from fleche.look.numbers import count
from fleche.storage.raw import names_in, reader

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache

__all__ = ["check_against"]

# Modules of scripts; what they define comes back in the script alone.
_SCRIPTS = frozenset({"__main__", "__mp_main__"})
_OURS = frozenset(map(normalised, {"fleche", *_SCRIPTS, *sys.stdlib_module_names}))


def check_against(cache: BaseCache, wanted: Mapping[str, Requirement] | None) -> Iterator[Finding]:
    """Look at every value of a cache.

    Args:
        cache: the cache.
        wanted: what an environment is to have, by name; `None`: what this one has.
    """
    installed = _Installed()
    for pair in pairs(cache):
        yield from _values(pair, wanted, installed)


class _Installed:
    """The packages of this environment."""

    def __init__(self) -> None:
        self._of_module = importlib.metadata.packages_distributions()
        self._known: dict[str, tuple[str, float] | None] = {}

    def package_of(self, module: str) -> str:
        """The package that a module is from; one that is not there by the module's name."""
        top = module.partition(".")[0]
        return normalised((self._of_module.get(top) or [top])[0])

    def version(self, package: str) -> tuple[str, float] | None:
        """Its version, and when that was installed, in seconds since 1970."""
        if package not in self._known:
            self._known[package] = _version(package)
        return self._known[package]

    def needed_by(self, packages: set[str]) -> set[str]:
        """These packages, and those that they need, as far as they are installed here."""
        found, waiting = set(packages), list(packages)
        while waiting:
            try:
                needs = importlib.metadata.requires(waiting.pop()) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            for need in needs:
                # An extra that was not asked for may be there nevertheless.
                if (name := name_in(need)) not in found:
                    found.add(name)
                    waiting.append(name)
        return found


def _version(package: str) -> tuple[str, float] | None:
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    # What an installer writes last; a package that is worked on has it where it was linked.
    path = getattr(found, "_path", None)
    try:
        since = Path(path).stat().st_mtime if path is not None else 0.0
    except OSError:
        since = 0.0
    return found.version, since


@dataclass
class _Found:
    """The keys of values about which there is something to say.

    Args:
        wanted: what an environment is to have.
        installed: what this one has.
    """

    wanted: Mapping[str, Requirement] | None
    installed: _Installed
    number: int = 0
    damaged: list[str] = field(default_factory=list)
    gone: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        wanted = self.wanted
        self._there = None if wanted is None else self.installed.needed_by(set(wanted))
        self._missing: dict[tuple[str, str], list[str]] = {}

    def note(self, key: str, names: set[tuple[str, str]], written: float | None) -> None:
        """Note a value that needs these names, and when it was written."""
        for name in names:
            if name not in self._missing:
                self._missing[name] = cannot_be_imported({name})
            for missing in self._missing[name]:
                if name[0] not in _SCRIPTS:
                    self.gone[missing].append(key)
        for package in {self.installed.package_of(module) for module, _ in names} - _OURS:
            is_known = self.installed.version(package) is not None
            if is_known and self._there is not None and package not in self._there:
                self.left_out[package].append(key)
            elif said := self._other_version(package, written):
                self.others[f"{package} {said}"].append(key)

    def _other_version(self, package: str, written: float | None) -> str | None:
        """By which version a value was pickled, in words, if another one is wanted."""
        found = self.installed.version(package)
        if found is None or written is None:
            return None
        version, since = found
        if written < since:
            day = time.strftime("%Y-%m-%d", time.localtime(since))
            return f"as it was before {day}, when {version} was installed here"
        required = None if self.wanted is None else self.wanted.get(package)
        if required is None or required.admits(version):
            return None
        return f"{version}; required is {required}"

    def findings(self, about: str) -> Iterator[Finding]:
        """What there is to say."""

        def finding(level: str, keys: list[str], text: str, advice: str) -> Finding:
            one = len(keys) == 1
            text = text.format(is_="is" if one else "are", needs="needs" if one else "need")
            some = f"{count(len(keys), 'value')} of {self.number:,}"
            return Finding(about, level, f"{some} {text}, as {keys[0]}", advice)

        if self.damaged:
            text = "{is_} damaged, or the signature does not hold"
            advice = "`fleche verify` says of each what is wrong"
            yield finding("problem", self.damaged, text, advice)
        for name, keys in _by_count(self.gone):
            text = f"{{needs}} {name}, which cannot be imported here"
            advice = "install its package, or have its module on the path; else they compute again"
            yield finding("problem", keys, text, advice)
        for package, keys in _by_count(self.left_out):
            text = f"{{needs}} {package}, which is not among the requirements"
            yield finding("problem", keys, text, f"add {package} to them")
        for said, keys in _by_count(self.others):
            advice = (
                "see that they load, by `fleche verify`, in the new environment while the old one "
                "is there"
            )
            yield finding("note", keys, f"{{is_}} pickled by {said}", advice)
        if not (self.damaged or self.gone or self.left_out or self.others):
            yield Finding(about, "ok", f"{count(self.number, 'value')} looked at, all fit")


def _values(
    pair: Cache, wanted: Mapping[str, Requirement] | None, installed: _Installed
) -> Iterator[Finding]:
    about = str(place_of(pair.values))
    read = reader(pair.values)
    if read is None:
        text = "its values are no pickles in files: what they need cannot be told without loading"
        yield Finding(about, "note", text, "`fleche verify` loads each of them")
        return
    found = _Found(wanted, installed)
    for key in sorted(pair.values.list()):
        found.number += 1
        try:
            with no_message():
                names = names_in(read(key))
        except (KeyError, ValueError):
            found.damaged.append(key)
        else:
            found.note(key, names, _written(pair, key))
    yield from found.findings(about)


def _by_count(found: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def _written(pair: Cache, key: str) -> float | None:
    path = getattr(pair.values, "_path", None)
    try:
        return None if path is None else float(path(key).stat().st_mtime)
    except OSError:
        return None
