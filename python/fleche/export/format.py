"""What is in a file that is handed on; `docs/design.md` has it byte for byte."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from typing import Any

from fleche import _core
from fleche.call import DigestedCall
from fleche.digest import Digest

__all__ = [
    "CRATE",
    "FORMAT",
    "MANIFEST",
    "SIGNATURE",
    "VERSION",
    "Member",
    "Refused",
    "Untrusted",
    "environment",
    "is_name_of_member",
    "message_of",
    "name_of_code",
    "read_json",
    "record_from_json",
    "record_to_json",
    "to_json",
]

FORMAT, VERSION = "fleche-export", 1
MANIFEST, SIGNATURE, CRATE = "manifest.json", "signature.json", "ro-crate-metadata.json"

_MEMBER = re.compile(
    r"(?:records/[0-9a-f]{64}\.json|values/[0-9a-f]{64}\.pickle|code/\w+(?:\.\w+)*\.py"
    r"|ro-crate-metadata\.json)",
    re.ASCII,
)
# So long a name every file system takes.
_LONGEST_NAME = 200


class Refused(ValueError):
    """A file is not what it says that it is; nothing of it was taken."""


class Untrusted(Refused):
    """A file is signed by somebody who is not trusted.

    Args:
        text: what to do.
        public: the signer's public key.
    """

    def __init__(self, text: str, public: bytes) -> None:
        super().__init__(text)
        self.public = public


@dataclass(frozen=True)
class Member:
    """A member of the file, as the manifest has it.

    Args:
        size: its length in bytes.
        sha256: the SHA-256 of its bytes.
    """

    size: int
    sha256: str


def is_name_of_member(name: str) -> bool:
    """Whether a file may have such a member.

    >>> is_name_of_member("ro-crate-metadata.json"), is_name_of_member("../values")
    (True, False)
    """
    return _MEMBER.fullmatch(name) is not None


def name_of_code(module: str | None, name: str) -> str:
    """The name of the member that holds the text of a function.

    >>> name_of_code("study.models", "fit")
    'code/study.models.fit.py'
    """
    dotted = name if module is None else f"{module}.{name}"
    member = f"code/{dotted}.py"
    if len(dotted) <= _LONGEST_NAME and is_name_of_member(member):
        return member
    # Not in ASCII, or within a function.
    return f"code/{hashlib.sha256(dotted.encode('utf-8', 'surrogatepass')).hexdigest()}.py"


def message_of(manifest: bytes) -> bytes:
    """What is signed."""
    return f"{FORMAT} {VERSION}\n".encode() + manifest


def to_json(data: Any) -> bytes:
    """JSON, the same bytes for the same data."""
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(
        "utf-8", "surrogatepass"
    )


def read_json(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Refused: if it is none.
    """
    try:
        data = json.loads(content.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise Refused(f"{what} is no JSON object")
    return data


def record_to_json(record: DigestedCall) -> bytes:
    """A record, with its arguments in order.

    Raises:
        TypeError: if its metadata are no JSON.
    """
    return to_json(
        {
            "name": record.name,
            "module": record.module,
            "version": record.version,
            "code_digest": None if record.code_digest is None else str(record.code_digest),
            "arguments": [[name, str(digest)] for name, digest in record.arguments.items()],
            "result": str(record.result),
            "metadata": record.metadata,
        }
    )


def record_from_json(content: bytes, what: str) -> DigestedCall:
    """The record that `record_to_json` wrote.

    Raises:
        Refused: if it is none.
    """
    data = read_json(content, what)
    try:
        arguments = {name: _digest(digest) for name, digest in data["arguments"]}
        code = data["code_digest"]
        record = DigestedCall(
            name=_of_kind(data["name"], str),
            arguments=arguments,
            result=_digest(data["result"]),
            metadata=_of_kind(data["metadata"], dict),
            module=_of_kind(data["module"], str, type(None)),
            version=_of_kind(data["version"], str, int, type(None)),
            code_digest=None if code is None else _digest(code),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"{what} is no record: {error!r}") from None
    if len(arguments) != len(data["arguments"]) or not all(isinstance(n, str) for n in arguments):
        raise Refused(f"{what} is no record: its arguments have no names of their own")
    return record


def _of_kind(value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _digest(text: Any) -> Digest:
    # In scheme `sha256`, what a rule of the user says may be any text.
    if not isinstance(text, str) or not text:
        raise ValueError(f"{text!r} is no digest")
    return Digest(text)


def environment() -> dict[str, Any]:
    """What computed here: Python, the platform, and the packages that are installed."""
    from importlib.metadata import distributions

    packages = {}
    for found in distributions():
        name = found.metadata["Name"]
        if name:
            packages[name] = found.version
    return {
        "fleche": _core.VERSION,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }
