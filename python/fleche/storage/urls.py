"""URLs of databases: read, made of paths, and shown without their secrets."""

from __future__ import annotations

import os
import re

from fleche import _core
from fleche._foundation.paths import expanded_home

IN_MEMORY = "sqlite:///:memory:"


def scheme_of(url: str) -> str:
    """The database of a URL, without its driver."""
    return url.partition("://")[0].partition("+")[0]


def normalized(url: str | os.PathLike[str] | None) -> str:
    """A URL; a path becomes that of an SQLite file."""
    if url is None:
        return IN_MEMORY
    text = os.fspath(url)
    if _core.path_or_url(text) != "url":
        if text == ":memory:":
            return IN_MEMORY
        if not text:
            raise ValueError("the url of an sql storage is empty: give a path, or a database's URL")
        if _core.path_or_url(text) == "mistyped":
            shown = without_password(text)
            raise ValueError(
                f"{shown!r}, the url of an sql storage, is neither a path nor a URL: write "
                f"database://user:password@host/name, sqlite:///folder/file.db, or ./ before a path"
            )
        return f"sqlite:///{quoted(str(expanded_home(text).absolute()))}"
    scheme, _, rest = text.partition("://")
    if scheme.partition("+")[0] == "sqlite":
        if rest.partition("?")[0] in ("", "/", "/:memory:"):
            return IN_MEMORY
        if rest.startswith("/"):
            # Absolute: processes that it is sent to may be elsewhere.
            path, mark, options = rest[1:].partition("?")
            place = expanded_home(_unquoted(path)).absolute()
            return f"{scheme}:///{quoted(str(place))}{mark}{options}"
    return text


def sqlite_path(url: str) -> str | None:
    """The file of an SQLite URL; `None` for one in memory."""
    if url == IN_MEMORY:
        return None
    location, _, options = url.partition("://")[2].partition("?")
    if not location.startswith("/") or len(location) == 1:
        shown = without_password(url)
        raise ValueError(f"the SQLite URL {shown!r} has no path: write sqlite:///folder/file.db")
    known = {"timeout", "check_same_thread", "cached_statements"}
    for option in filter(None, options.split("&")):
        name = option.partition("=")[0]
        if name not in known:
            raise ValueError(f"unknown option {name!r} in the SQLite URL {url!r}")
    return str(expanded_home(_unquoted(location[1:])).absolute())


# SQLAlchemy takes the path in an SQLite URL as it is, up to a question mark. Only such a mark, and
# what would be taken for one, is written in another way.


def quoted(path: str) -> str:
    """A path as it is written in an SQLite URL.

    >>> quoted("/what?/100%.db")
    '/what%3F/100%.db'
    """
    return re.sub("%(?=25|3F)", "%25", path).replace("?", "%3F")


def _unquoted(path: str) -> str:
    return path.replace("%3F", "?").replace("%25", "%")


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Mistyped, or a path.
        return re.sub(r"^([A-Za-z0-9+.-]+[:;/]+[^:/@]*):[^/]*@", r"\1:***@", url)
    if scheme_of(url) == "sqlite" and rest.startswith("/"):
        return url
    # As SQLAlchemy reads it: a password ends at an `@`, and may hold a `?` or a `/`.
    rest = re.sub(r"^([^:/?@]*):[^@]*@(?:[^/?@]*@)*", r"\1:***@", rest)
    place, mark, options = rest.partition("?")
    shown = [
        f"{name}=***" if is_secret(name) else f"{name}{equals}{value}"
        for name, equals, value in (option.partition("=") for option in options.split("&"))
    ]
    return f"{scheme}{separator}{place}{mark}{'&'.join(shown)}"


def is_secret(option: str) -> bool:
    """Whether an option of a URL holds a password, or what may contain one."""
    return re.search("pass|pwd|secret|token|odbc_connect", option, re.IGNORECASE) is not None
