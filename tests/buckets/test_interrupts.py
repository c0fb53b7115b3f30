"""Ctrl-C between a record and what is told of it: queries find what is there, whoever asks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fleche.caches import Cache
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.storage import bucket as bucket_module
from fleche.storage.buckets import index as index_module

WATCHED = {bucket_module.__file__, index_module.__file__}


def _made(settings: dict[str, Any], mirror: Path) -> Cache:
    calls = {"type": "bucket", **settings, "mirror": str(mirror)}
    made = cache_from_config({"values": {"type": "bucket", **settings}, "calls": calls})
    assert isinstance(made, Cache)
    return made


def _call(number: int) -> Call:
    return Call("f", {"x": number}, result=number)


def _found(cache: Cache) -> set[int]:
    return {call.arguments["x"] for call in cache.query(name="f")}


def _place(frame: FrameType) -> tuple[str, int]:
    return frame.f_code.co_filename, frame.f_lineno


def _interrupted_at(line: int, work: Callable[[], Any]) -> bool:
    """Whether Ctrl-C came: when the index or the storage begins the line of this number."""
    lines = 0

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in WATCHED:
            return None
        # Python itself lets nothing come between the end of a block and `__exit__`.
        if event == "line" and not getline(*_place(frame)).lstrip().startswith("with "):
            lines += 1
            if lines == line + 1:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("what", ["save", "evict", "flush"])
def test_at_every_line(what: str, tmp_path: Path) -> None:
    settings = {"url": (tmp_path / "bucket").as_uri()}
    here, there = _made(settings, tmp_path / "here"), _made(settings, tmp_path / "there")
    first = _call(-1)
    here.save(first)
    # From now on nothing is found by comparing.
    assert _found(here) == _found(there) == {-1}
    line, interrupted = 0, True
    while interrupted:
        call = _call(line)
        if what == "save":
            interrupted = _interrupted_at(line, lambda: here.save(call))  # noqa: B023
        else:
            here.save(call)
            if what == "evict":
                key = call.to_lookup_key()
                assert _found(there) >= {-1}
                interrupted = _interrupted_at(line, lambda: here.evict(key))  # noqa: B023
            else:
                interrupted = _interrupted_at(line, here.calls.flush)  # type: ignore[attr-defined]
        line += 1
        kept = {each for each in range(-1, line) if here.contains(_call(each).to_lookup_key())}
        assert _found(here) == _found(there) == kept, line
    assert line > 10


def test_as_the_server_has_done_it(on_seaweedfs: dict[str, Any], tmp_path: Path) -> None:
    here = _made(on_seaweedfs, tmp_path / "here")
    there = _made(on_seaweedfs, tmp_path / "there")
    here.save(_call(0))
    assert _found(here) == _found(there) == {0}
    write = here.calls._write  # type: ignore[attr-defined]

    def interrupted(path: str, data: bytes) -> None:
        write(path, data)
        signal.raise_signal(signal.SIGINT)

    vars(here.calls)["_write"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        here.save(_call(1))
    del vars(here.calls)["_write"]
    # Who did it tells it, whether or not it queries.
    here.calls.flush()  # type: ignore[attr-defined]
    assert _found(there) == {0, 1}
    assert _found(here) == {0, 1}
    here.evict(_call(0).to_lookup_key())
    assert _found(here) == _found(there) == {1}


def test_a_server_that_is_at_it_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes first, and the record a while later."""
    settings = {"url": (tmp_path / "bucket").as_uri()}
    here, there = _made(settings, tmp_path / "here"), _made(settings, tmp_path / "there")
    here.save(_call(0))
    assert _found(here) == _found(there) == {0}
    write, late = here.calls._write, []  # type: ignore[attr-defined]

    def interrupted(path: str, data: bytes) -> None:
        late.append((path, data))
        signal.raise_signal(signal.SIGINT)

    vars(here.calls)["_write"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        here.save(_call(1))
    del vars(here.calls)["_write"]
    assert _found(here) == _found(there) == {0}
    write(*late[0])
    assert _found(here) == _found(there) == {0, 1}
    # In the end it is told no more.
    monkeypatch.setattr(index_module, "_SOON", 0.0)
    here.calls.flush()  # type: ignore[attr-defined]
    assert here.calls._index._unsure == {}  # type: ignore[attr-defined]
