"""RO-Crate 1.1 metadata of what is handed on: the calls as actions on files."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.export.format import CRATE, Member

__all__ = ["crate_of"]

_CONFORMS_TO = "https://w3id.org/ro/crate/1.1"
_KINDS = {".json": "application/json", ".py": "text/x-python", ".pickle": "application/x-pickle"}


def crate_of(
    title: str,
    records: Mapping[Digest, DigestedCall],
    members: Mapping[str, Member],
    values: Mapping[Digest, str],
    code: Mapping[tuple[str | None, str], str],
) -> dict[str, Any]:
    """The metadata, as JSON has it.

    Args:
        title: what is handed on.
        records: the calls by their keys.
        members: the files.
        values: the names of the values' files, by the digests that records have.
        code: the names of the functions' files, by module and name.
    """
    files = [_file(name, member) for name, member in sorted(members.items())]
    functions = {name: which for which, name in code.items()}
    for file in files:
        if file["@id"] in functions:
            file["@type"] = ["File", "SoftwareSourceCode"]
            file["name"] = _dotted(*functions[file["@id"]])
            file["programmingLanguage"] = "Python"
    actions = [_action(key, record, values, code) for key, record in sorted(records.items())]
    ends = [end for record in records.values() if (end := _time(record, "timestop")) is not None]
    published = max(ends) if ends else datetime.datetime.now(datetime.UTC).isoformat()
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": "Calls of Python functions with their arguments and results, by fleche",
        "datePublished": published,
        "hasPart": _named(file["@id"] for file in files),
        "mentions": _named(action["@id"] for action in actions),
    }
    descriptor = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CONFORMS_TO},
        "about": {"@id": "./"},
    }
    return {
        "@context": f"{_CONFORMS_TO}/context",
        "@graph": [descriptor, root, *files, *actions],
    }


def _file(name: str, member: Member) -> dict[str, Any]:
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "contentSize": str(member.size),
        "encodingFormat": _KINDS[PurePosixPath(name).suffix],
    }


def _action(
    key: Digest,
    record: DigestedCall,
    values: Mapping[Digest, str],
    code: Mapping[tuple[str | None, str], str],
) -> dict[str, Any]:
    given = [values[digest] for digest in record.arguments.values() if digest in values]
    action: dict[str, Any] = {
        "@id": f"#{key}",
        "@type": "CreateAction",
        "name": f"{_dotted(record.module, record.name)}({', '.join(record.arguments)})",
        "object": _named(dict.fromkeys(given)),
        "result": _named(values[held] for held in [record.result] if held is not None),
        "subjectOf": {"@id": f"records/{key}.json"},
    }
    if (record.module, record.name) in code:
        action["instrument"] = {"@id": code[record.module, record.name]}
    for name, stamp in (("startTime", "timestart"), ("endTime", "timestop")):
        if (time := _time(record, stamp)) is not None:
            action[name] = time
    return action


def _dotted(module: str | None, name: str) -> str:
    return name if module is None else f"{module}.{name}"


def _named(identifiers: Iterable[str]) -> list[dict[str, str]]:
    return [{"@id": identifier} for identifier in identifiers]


def _time(record: DigestedCall, which: str) -> str | None:
    held = record.metadata.get("runtime")
    stamp = held.get(which) if isinstance(held, dict) else None
    if not isinstance(stamp, int | float):
        return None
    try:
        return datetime.datetime.fromtimestamp(stamp, datetime.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
