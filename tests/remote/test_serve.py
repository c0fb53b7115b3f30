"""The server by itself: frames in, frames out."""

from __future__ import annotations

import io
import pickle
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import _core
from fleche.caches import BaseCache, Rejected
from fleche.call import Call, DigestedCall, QueryCall
from fleche.config import cache_from_config
from fleche.digest import digest
from fleche.remote import frames, serve
from fleche.remote.frames import Reader, Writer, pack

MEMORY = {"template": "memory"}


def frame(message: Any) -> bytes:
    body = cloudpickle.dumps(message)
    return struct.pack(">I", len(body)) + bytes(body)


def frames_of(stream: bytes) -> Iterator[Any]:
    while stream:
        (size,) = struct.unpack(">I", stream[:4])
        yield pickle.loads(stream[4 : 4 + size])
        stream = stream[4 + size :]


def answers(stream: bytes, cache: BaseCache | None = None, name: str | None = None) -> list[Any]:
    """What a server replies to a stream of requests."""
    output = io.BytesIO()
    served = cache_from_config(MEMORY) if cache is None else cache
    serve(io.BytesIO(stream), output, served, cache_name=name)
    return list(frames_of(output.getvalue()))


def ask(*requests: tuple[Any, ...], cache: BaseCache | None = None) -> list[Any]:
    return answers(b"".join(frame((m, tuple(a), {})) for m, *a in requests), cache)


@pytest.fixture
def cache() -> BaseCache:
    return cache_from_config(MEMORY)


def test_every_method_of_the_specification(cache: BaseCache) -> None:
    call = Call("f", {"x": 1}, result=2)
    key, record = call.to_lookup_key(), call.digest()
    value = digest(2, typed=True)
    replies = ask(
        *(("save", call), ("load", key), ("load_value", value), ("save_value", 2)),
        *(("prepare", Call("g", {"x": 5})), ("contains", key), ("expand", key[:9])),
        *(("shrink", key), ("shrink", key, key), ("query", QueryCall(name="f"))),
        *(("save", DigestedCall("h", {}, value)), ("evict", key), ("contains", key)),
        cache=cache,
    )
    assert {status for status, _ in replies} == {"ok"}
    results = [result for _, result in replies]
    assert results[:4] == [key, record, 2, value]
    assert results[4] == Call("g", {"x": 5}).digest()
    assert results[5:7] == [True, key]
    assert results[7] == key[: len(results[7])]
    assert results[8] == (results[7], results[7])
    assert results[9] == (record,)
    assert type(results[9][0]) is DigestedCall
    assert results[11:] == [None, False]
    assert cache.load_value(digest(5)) == 5


def test_info() -> None:
    config = {
        "values": {"type": "pickle", "root": "values", "secret_key": ["00" * 32]},
        "calls": {"type": "sql", "url": "postgresql://me:pass%40word@db.example.com/calls"},
    }
    cache = cache_from_config({"values": config["values"], "calls": {"type": "memory"}})
    [(status, info)] = answers(frame(("info", (), {})), cache, "shared")
    assert status == "ok"
    assert list(info)[:9] == [
        *("cache", "cache_name", "read_only", "fleche_version", "cloudpickle_version", "cwd"),
        *("hostname", "python", "pid"),
    ]
    assert info["cache"]["values"]["secret_key"] == "<redacted>"
    assert "00" * 32 not in str(info)
    assert (info["cache_name"], info["read_only"]) == ("shared", False)
    assert info["digest"] == _core.scheme()
    assert info["protocol"] == frames.PROTOCOL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@h/d", "postgresql://me:***@h/d"),
        ("postgresql://me:a@b:c@h:5432/d?x=1", "postgresql://me:***@h:5432/d?x=1"),
        ("postgresql://me@h/d", "postgresql://me@h/d"),
        ("postgresql://h/d?user=me&password=secret", "postgresql://h/d?user=me&password=***"),
        ("sqlite:////data/calls.db", "sqlite:////data/calls.db"),
    ],
)
def test_passwords_are_not_told(url: str, shown: str) -> None:
    from fleche.remote.server import _redacted

    assert _redacted([{"calls": {"url": url}}]) == [{"calls": {"url": shown}}]


def test_an_unreadable_entry_is_a_key_error_to_the_reference(tmp_path: Path) -> None:
    """Its processes have no `fleche.storage.base.Unreadable` to load."""

    def opened(key: str) -> BaseCache:
        form = {"type": "pickle", "root": str(tmp_path), "secret_key": [key]}
        return cache_from_config({"values": form, "calls": {"type": "memory"}})

    key = opened("00" * 32).values.save(1)  # type: ignore[attr-defined]
    [(status, error)] = ask(("load_value", key), cache=opened("11" * 32))
    assert (status, type(error)) == ("err", KeyError)
    assert error.args == (tmp_path / key, "Value present but failed signature check.")


def test_a_cache_without_a_configuration_is_served() -> None:
    filtered = cache_from_config(MEMORY).filter(lambda call: True)
    [(_, info)] = answers(frame(("info", (), {})), filtered)
    assert info["cache"].startswith("<cache_to_config failed: Cannot convert cache of type")
    assert info["read_only"] is True


@pytest.mark.parametrize(
    "cache",
    [
        cache_from_config(MEMORY).readonly(),
        cache_from_config(MEMORY).push(cache_from_config(MEMORY).readonly()),
        cache_from_config({"pool": [MEMORY]}),
    ],
)
def test_a_read_only_cache_takes_nothing(cache: BaseCache) -> None:
    call = Call("f", {"x": 1}, result=2)
    [(_, info)] = answers(frame(("info", (), {})), cache)
    assert info["read_only"] is True
    replies = ask(("save", call), ("save_value", 1), cache=cache)
    assert [status for status, _ in replies] == ["err", "err"]
    assert {type(error) for _, error in replies} == {Rejected}


@pytest.mark.parametrize(
    "malformed",
    [
        frame("no request"),
        frame(("contains", ("ab" * 32,))),
        frame((1, (), {})),
        frame(("contains", "ab", {})),
        struct.pack(">I", 5) + b"hello",
        struct.pack(">I", 0),
    ],
)
def test_a_malformed_frame_is_answered_and_logged(
    malformed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (status, error), (then, held) = answers(malformed + frame(("contains", ("ab" * 32,), {})))
    assert status == "err"
    assert type(error) is ValueError
    assert (then, held) == ("ok", False)
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.message.startswith("Malformed request frame: ")


def test_an_unknown_method() -> None:
    [(status, error)] = ask(("nope",))
    assert status == "err"
    assert "Unknown remote cache method: 'nope'" in str(error)
    [(status, error)] = ask(("__init__",))
    assert type(error) is ValueError


def test_a_frame_too_large_for_the_memory_is_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    large, after = 1 << 20, frame(("contains", ("ab" * 32,), {}))

    def refuse(_: int, size: int) -> Any:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("fleche.remote.frames.mmap.mmap", refuse)
    stream = struct.pack(">I", large) + bytes(large) + after
    (status, error), (then, held) = answers(stream)
    assert (status, then, held) == ("err", "ok", False)
    assert "1,048,576 bytes is too large" in str(error)
    assert "Malformed" in caplog.text


@pytest.mark.parametrize(
    "end",
    [b"", b"\0\0", b"\0\0\0\xff", b"\0\0\0\xffhello", struct.pack(">I", 1 << 30) + bytes(99)],
)
def test_the_end_of_the_input_is_the_end(end: bytes) -> None:
    assert answers(frame(("contains", ("ab" * 32,), {})) + end) == [("ok", False)]


def test_a_client_that_stops_reading_is_the_end(cache: BaseCache) -> None:
    class Gone(io.BytesIO):
        def write(self, _: Any) -> int:
            raise BrokenPipeError

    serve(io.BytesIO(frame(("info", (), {}))), Gone(), cache)


def test_a_result_that_cannot_be_pickled(cache: BaseCache) -> None:
    key = digest("the key")
    cache.values.storage[key] = threading.Lock()  # type: ignore[attr-defined]
    [(status, error)] = ask(("load_value", key), cache=cache)
    assert status == "err"
    assert isinstance(error, Exception)


def test_a_client_of_the_reference_is_told_of_another_scheme() -> None:
    (_, info), (status, error) = ask(("info",), ("contains", "ab" * 32))
    assert info["digest"] == "exact"
    assert status == "err"
    assert "FLECHE_DIGEST=sha256" in str(error)


def streams(message: Any, *, apart: bool) -> bytes:
    output = io.BytesIO()
    Writer(output).write(pack(message, apart=apart), long_frames=apart)
    return output.getvalue()


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a network does."""

    def __init__(self, stream: bytes, most: int) -> None:
        self._stream, self._most = io.BytesIO(stream), most

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        return self._stream.readinto(memoryview(into)[: self._most])


@settings(max_examples=50)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 99), st.integers(60_000, 140_000)), max_size=4),
    most=st.integers(1, 200_000),
    apart=st.booleans(),
)
def test_frames_arrive_however_they_are_cut(sizes: list[int], most: int, apart: bool) -> None:
    messages = [bytearray(b"%d" % size * size)[:size] for size in sizes]
    stream = b"".join(streams(pickle.PickleBuffer(held), apart=apart) for held in messages)
    most = most if len(stream) < 2000 else max(most, 1000)
    reader = Reader(Trickle(stream, most))
    received = [bytes(reader.frame().message()) for _ in messages]
    assert received == messages
    with pytest.raises(EOFError, match="before a frame"):
        reader.frame()


def test_buffers_travel_beside_the_pickle_without_a_copy() -> None:
    memory = bytearray(1 << 20)
    packed = pack(pickle.PickleBuffer(memory))
    [buffer] = packed.buffers
    memory[0] = 7
    assert buffer[0] == 7
    assert sum(map(len, packed.pieces)) < 200
    # Large `bytes` are not copied into the pickle either.
    text = bytes(1 << 20)
    assert any(piece is text for piece in pack(text).pieces)


class Huge(bytes):
    """Says that it is longer than it is."""

    def __len__(self) -> int:
        return 5 << 30


def test_more_than_4_gib_takes_a_long_frame() -> None:
    packed = pack("x")
    packed.pieces[:] = [Huge(b"xyz")]
    header = next(packed.frame(long_frames=True))
    assert header == b"\xff\xff\xff\xff\0\0\0\1" + struct.pack(">Q", 5 << 30)
    with pytest.raises(frames.FrameTooLarge, match="less than 4 GiB"):
        next(packed.frame(long_frames=False))


def test_noise_before_the_first_frame_is_skipped() -> None:
    noise = b"Last login: today\nLoading modules\n" * 9
    reader = Reader(Trickle(noise + frame(("ok", {})), 7))
    found, first = reader.first_frame()
    assert found == noise
    assert first.message() == ("ok", {})
    with pytest.raises(EOFError):
        Reader(io.BytesIO(b"Connection refused\n")).first_frame()
    with pytest.raises(EOFError):
        Reader(io.BytesIO(b"x" * 200_000)).first_frame()
