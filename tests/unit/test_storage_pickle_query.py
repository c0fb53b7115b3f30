"""Queries over pickled records: read in bulk where their pickles are plain, else one by one."""

from __future__ import annotations

import datetime
import gzip
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleche.call import Call, DigestedCall, QueryCall
from fleche.digest import Digest, digest
from fleche.storage import CallPickleFile, pickle_file

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compress": True},
    "signed": {"secret_key": b"key"},
    "both": {"compress": True, "secret_key": b"key"},
    "dill": {"serializer": "dill"},
    "cloudpickle": {"serializer": "cloudpickle"},
}


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLECHE_SECRET_KEY", raising=False)


def record(number: int, **metadata: Any) -> DigestedCall:
    arguments = {"x": number, "parity": number % 2}
    return Call("f", arguments, {"tags": metadata}, "m", 1, None, number).digest()


def found(calls: CallPickleFile, **template: Any) -> list[str]:
    return sorted(call.to_lookup_key() for call in calls.query(QueryCall(**template)))


def unpickled(*_: Any) -> Any:
    raise AssertionError("unpickled")


@pytest.mark.parametrize("form", FORMS)
def test_plain_records_are_found_without_unpickling(form: str, tmp_path: Path) -> None:
    calls = CallPickleFile(tmp_path, **FORMS[form])
    records = [record(number, sample=f"s{number % 3}", n=number / 2) for number in range(200)]
    keys = {calls.save(each): each for each in records}
    object.__setattr__(calls, "loads", unpickled)
    vars(calls).pop("_handle")
    assert found(calls) == sorted(keys)
    odd = [key for key, each in keys.items() if each.arguments["parity"] == digest(1)]
    assert found(calls, arguments={"parity": 1}) == sorted(odd)
    assert found(calls, metadata={"tags": {"n": 3.5}}, name="f") == [records[7].to_lookup_key()]
    assert len(found(calls, metadata={"tags": {"sample": "s1"}})) == 67
    assert found(calls, metadata={"tags": {"sample": "s3"}}) == []
    for call in calls.query(QueryCall()):
        same = keys[call.to_lookup_key()]
        assert type(call) is DigestedCall
        assert call == same
        assert list(vars(call)) == list(vars(same))
        assert [type(value) for value in call.arguments.values()] == [Digest, Digest]


class OtherCall(DigestedCall):
    """A record of a class of its own."""


@pytest.mark.parametrize("form", FORMS)
def test_records_of_any_kind_are_found(form: str, tmp_path: Path) -> None:
    calls = CallPickleFile(tmp_path, **FORMS[form])
    records = [
        record(0, when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
        record(1, path=Path("somewhere")),
        record(2, big=2**80, negative=-(2**70)),
        record(3, text="x" * 100_000),
        record(4, nested=[[[{"a": (1, (2, None))}]]]),
        DigestedCall("f", {"x": digest(5)}, None, {}, None, 1.5),
        DigestedCall("f", {"x": digest(6)}, digest(1), {"tags": {}}, None, True),
        OtherCall("f", {"x": digest(7)}, digest(1), {}, "m", 1),
        DigestedCall("f", {"x": 8}, digest(1), {}, "m", 1),  # type: ignore[dict-item]
    ]
    keys = [calls.save(each) for each in records]
    assert found(calls) == sorted(keys)
    assert {type(call) for call in calls.query(QueryCall())} == {DigestedCall, OtherCall}
    for number, (key, each) in enumerate(zip(keys, records, strict=True)):
        assert found(calls, arguments={"x": number}) == [key]
        for name, value in each.metadata.get("tags", {}).items():
            assert found(calls, metadata={"tags": {name: value}}) == [key]
    assert found(calls, version=1.5) == [keys[5]]
    assert found(calls, version=True) == [keys[6]]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_found(protocol: int, tmp_path: Path) -> None:
    calls = CallPickleFile(tmp_path)
    for number in range(5):
        each = record(number, n=number)
        (tmp_path / each.to_lookup_key()).write_bytes(pickle.dumps(each, protocol))
        assert found(calls, arguments={"x": number}) == [each.to_lookup_key()]
        assert found(calls, metadata={"tags": {"n": number}}) == [each.to_lookup_key()]
    assert len(found(calls)) == 5


def test_what_cannot_be_read_is_said_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = CallPickleFile(tmp_path)
    key = calls.save(record(1))
    damaged = {
        "00" * 32: b"",
        "11" * 32: (tmp_path / key).read_bytes()[:50],
        "22" * 32: gzip.compress(b"text" * 100)[:30],
        "33" * 32: pickle.dumps("no record"),
        "44" * 32: b"cos\nsystem\n(S'true'\ntR",
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    assert found(calls) == [key]
    for name in damaged:
        assert f"Cannot load call {name}, skipped" in caplog.text


def test_nothing_of_an_entry_with_a_wrong_signature_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for compress in (False, True):
        theirs = CallPickleFile(tmp_path, secret_key=b"theirs", compress=compress)
        theirs.save(record(int(compress)))
    unsigned = CallPickleFile(tmp_path).save(record(2))
    ours = CallPickleFile(tmp_path, secret_key=b"ours")
    object.__setattr__(ours, "loads", unpickled)
    key = ours.save(record(3))
    assert found(ours) == [key]
    logged = [each for each in caplog.records if each.name == "fleche.security"]
    assert len(logged) == 3
    assert all(each.levelno == logging.ERROR for each in logged)
    both = CallPickleFile(tmp_path, secret_key=[b"ours", b"theirs"])
    assert unsigned not in found(both)
    assert len(found(both)) == 3


def test_who_wants_few_does_not_wait_for_all(tmp_path: Path) -> None:
    calls = CallPickleFile(tmp_path)
    keys = [calls.save(record(number)) for number in range(300)]
    matches = calls.query(QueryCall(name="f"))
    next(matches)
    for key in keys:
        calls.evict(key)
    assert len(list(matches)) < 100


@dataclass(frozen=True)
class Upper(CallPickleFile):
    """Changes what it loads."""

    def load(self, key: Digest | str) -> DigestedCall:
        loaded = super().load(key)
        loaded.name = loaded.name.upper()
        return loaded


def test_overrides_are_honoured(tmp_path: Path) -> None:
    key = CallPickleFile(tmp_path).save(record(1))
    assert found(CallPickleFile(tmp_path), name="f") == [key]
    assert [call.name for call in Upper(tmp_path).query(QueryCall(name="F"))] == ["F"]
    assert found(Upper(tmp_path), name="f") == []


def test_other_serializers_read_their_own_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(data: bytes) -> Any:
        loaded = pickle.loads(data)
        loaded.name = "changed"
        return loaded

    monkeypatch.setitem(pickle_file._SERIALIZERS, "changing", lambda: (pickle.dumps, loads))
    calls = CallPickleFile(tmp_path, serializer="changing")
    calls.save(record(1))
    assert len(found(calls, name="changed")) == 1
    assert found(calls, name="f") == []
