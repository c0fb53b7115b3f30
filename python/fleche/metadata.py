"""What is recorded about a call besides its arguments and result.

A metadata object gathers JSON values before a call's body runs (`pre`) and after it (`post`); the
call's record holds both together under the object's `name`. Which ones are active is set by
`fleche.meta` and `fleche.tags`, or by `[default] metadata` in a `fleche.toml`.
"""

from __future__ import annotations

import sys
from abc import ABC
from dataclasses import dataclass
from time import process_time, time
from typing import Any, ClassVar, TypeAlias, TypeVar

from fleche import _core
from fleche.call import Call

JSONValue: TypeAlias = str | int | float | bool | list["JSONValue"] | dict[str, "JSONValue"] | None

CONFIGURABLE: dict[str, type[MetaData]] = {}
"""The metadata that a config file can name, by class name; `configurable` adds to it."""

_M = TypeVar("_M", bound="type[MetaData]")


class MetaData(ABC):
    """The base of all metadata; override `pre`, `post` or both.

    `name` is the key under which records hold what was gathered, and `_keys` says what that is.

    >>> from fleche.metadata import MetaData
    >>> class Answer(MetaData):
    ...     name = "answer"
    ...     _keys = {"value": int}
    ...     def post(self, pre, call):
    ...         return {"value": 42}
    >>> Answer().keys
    {'value': <class 'int'>}
    """

    name: str
    _keys: ClassVar[dict[str, type]] = {}

    @property
    def keys(self) -> dict[str, type]:
        """The names of the recorded values and their types."""
        return dict(self._keys)

    def pre(self, call: Call) -> dict[str, JSONValue]:
        """Values known before the call's body runs.

        Args:
            call: The call, its result still `None`.
        """
        return {}

    def post(self, pre: dict[str, JSONValue], call: Call) -> dict[str, JSONValue]:
        """Values known after the call's body has run; they win over those of `pre`.

        Args:
            pre: What `pre` gave for this call.
            call: The call with its result.
        """
        return {}


def configurable(cls: _M) -> _M:
    """Make a metadata class known to config files, under its class name.

    Its `name` becomes the class name in lower case. Use it on classes whose instances need no
    arguments.

    >>> from fleche.metadata import CONFIGURABLE, MetaData, configurable
    >>> @configurable
    ... class Moon(MetaData):
    ...     pass
    >>> Moon.name, CONFIGURABLE.pop("Moon") is Moon
    ('moon', True)
    """
    cls.name = cls.__name__.lower()
    CONFIGURABLE[cls.__name__] = cls
    return cls


def _cpu_seconds() -> tuple[float, float]:
    """CPU and system seconds of this process and its finished children."""
    if sys.platform == "win32":  # Finished children are not counted.
        return process_time(), 0.0
    else:  # noqa: RET505 - type checkers see only one of the two
        from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

        own = getrusage(RUSAGE_SELF)
        children = getrusage(RUSAGE_CHILDREN)
        return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime


@configurable
class Runtime(MetaData):
    """When a call ran and what it cost; all values in seconds, the times since the epoch.

    `walltime` is what passed on the clock; `cputime` and `systime` are user and system time of
    the process, its finished children included.

    >>> from fleche.metadata import Runtime
    >>> list(Runtime().keys)
    ['timestart', 'timestop', 'walltime', 'cputime', 'systime']
    """

    _keys: ClassVar[dict[str, type]] = {
        "timestart": float,
        "timestop": float,
        "walltime": float,
        "cputime": float,
        "systime": float,
    }

    def pre(self, call: Call) -> dict[str, Any]:
        cputime, systime = _cpu_seconds()
        return {"timestart": time(), "cputime": cputime, "systime": systime}

    def post(self, pre: dict[str, Any], call: Call) -> dict[str, Any]:
        timestop = time()
        cputime, systime = _cpu_seconds()
        return {
            "timestop": timestop,
            "walltime": timestop - pre["timestart"],
            "cputime": cputime - pre["cputime"],
            "systime": systime - pre["systime"],
        }


@configurable
class Environment(MetaData):
    """Where a call ran: host, user, working directory and versions.

    >>> from fleche.metadata import Environment
    >>> list(Environment().keys)
    ['hostname', 'username', 'cwd', 'fleche_version', 'python_version']
    """

    _keys: ClassVar[dict[str, type]] = {
        "hostname": str,
        "username": str,
        "cwd": str,
        "fleche_version": str,
        "python_version": str,
    }

    def pre(self, call: Call) -> dict[str, Any]:
        import os
        import platform
        import socket

        try:
            cwd = os.getcwd()
        except FileNotFoundError:  # the directory was removed under us
            cwd = ""
        return {
            "hostname": socket.gethostname(),
            "username": _username(),
            "cwd": cwd,
            "fleche_version": _core.VERSION,
            "python_version": platform.python_version(),
        }


def _username() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # Containers run under users that no database knows: the number is what there is.
        import os

        return str(os.getuid()) if hasattr(os, "getuid") else ""


@configurable
class Git(MetaData):
    """The state of the Git repository that holds the working directory.

    `root` (its folder), `commit` (40 hex digits), `branch` (`"HEAD"` while none is checked out)
    and `dirty` (tracked files changed, or untracked ones present). All are `None` outside a
    repository and without an installed `git`; `commit` and `branch` before the first commit.

    Asked anew for every call that runs, as commits and changes come under a long process, too.

    >>> from fleche.metadata import Git
    >>> list(Git().keys)
    ['root', 'commit', 'branch', 'dirty']
    """

    _keys: ClassVar[dict[str, type]] = {"root": str, "commit": str, "branch": str, "dirty": bool}

    def pre(self, call: Call) -> dict[str, Any]:
        state: dict[str, Any] = dict.fromkeys(self._keys)
        state["root"] = _git("rev-parse", "--show-toplevel")
        if state["root"] is None:
            return state
        # One process for all of it; it must not take the index lock from under the user's git.
        status = _git("--no-optional-locks", "status", "--porcelain=v2", "--branch")
        if status is None:
            return state
        state["dirty"] = False
        for line in status.splitlines():
            if line.startswith("# branch.oid "):
                commit = line.removeprefix("# branch.oid ")
                state["commit"] = None if commit == "(initial)" else commit
            elif line.startswith("# branch.head ") and state["commit"] is not None:
                branch = line.removeprefix("# branch.head ")
                state["branch"] = "HEAD" if branch == "(detached)" else branch
            elif not line.startswith("#"):
                state["dirty"] = True
        return state


def _git(*args: str) -> str | None:
    """What `git` prints, without the final line break; `None` when it fails or is not there."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return None
    if done.returncode != 0:
        return None
    return done.stdout.decode(errors="replace").rstrip("\n")


@dataclass
class Tags(MetaData):
    """Names and values of the user's own; see `fleche.tags`.

    >>> from fleche.metadata import Tags
    >>> Tags({"sample": "A7"}).keys
    {'sample': <class 'str'>}
    """

    tags: dict[str, Any]
    name: str = "tags"

    @property
    def keys(self) -> dict[str, type]:
        """The tags' names and types."""
        return {key: type(value) for key, value in self.tags.items()}

    def pre(self, call: Call) -> dict[str, Any]:
        return dict(self.tags)
