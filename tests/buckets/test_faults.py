"""Buckets that fail: a decorated call returns, and what is said names bucket, key and way out."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache
from fleche.call import Call
from fleche.config import cache_from_config, cache_to_config
from fleche.storage.bucket import BucketError
from fleche.storage.buckets import place as places
from tests.buckets.proxy import Fault, Proxy
from tests.s3_servers import READER, READERS_SECRET, SECRET, S3Server

RUNS: list[Any] = []


@fleche
def double(x: Any) -> Any:
    RUNS.append(x)
    return 2 * x


@pytest.fixture(autouse=True)
def _fresh(asked_at_once: None) -> None:
    RUNS.clear()


@pytest.fixture
def behind(proxy: Proxy, seaweedfs: S3Server) -> dict[str, Any]:
    """The settings of a bucket behind the proxy."""
    return {"url": f"s3://{seaweedfs.new_bucket()}", "endpoint": proxy.endpoint, "timeout": 4.0}


def _made(settings: dict[str, Any]) -> BaseCache:
    return cache_from_config({"template": "bucket", **settings})


FAULTS: dict[str, tuple[Fault, str]] = {
    "gone": ((404, "NoSuchBucket", "no bucket"), "there is no such bucket"),
    "denied": ((403, "AccessDenied", "no"), "do not permit"),
    "expired": ((400, "ExpiredToken", "old"), "have expired"),
    "clock": ((403, "RequestTimeTooSkewed", "late"), "clock"),
    "wrong key": ((403, "SignatureDoesNotMatch", SECRET), "not accepted"),
    "slow down": ((503, "SlowDown", "slower"), "fewer requests"),
    "broken": ((500, "InternalError", "oops"), "InternalError"),
    "reset": ("reset", "s3://"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_call_returns_whatever_fails(
    proxy: Proxy, behind: dict[str, Any], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    fault, said = FAULTS[name]
    proxy.fault = lambda method, path: fault
    with cache(_made(behind)):
        assert double(4) == 8
    assert RUNS == [4]
    assert behind["url"] in caplog.text
    assert said in caplog.text


@pytest.mark.parametrize("fault", [(503, "SlowDown", "slower"), (500, "InternalError", "")])
def test_faults_that_pass_are_not_seen(
    proxy: Proxy, behind: dict[str, Any], caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    held = _made(behind)
    failing = iter([fault, None] * 100)
    proxy.fault = lambda method, path: next(failing)
    with cache(held):
        assert double(5) == 10
        assert double(5) == 10
    assert RUNS == [5]
    assert "s3://" not in caplog.text


def test_a_write_whose_answer_was_lost_is_done(proxy: Proxy, behind: dict[str, Any]) -> None:
    calls: Any = _made(behind).calls  # type: ignore[attr-defined]
    bucket = calls._at.bucket
    assert bucket.create("r/ab/x", b"one") is not None
    # As if it had been sent again.
    assert bucket.create("r/ab/x", b"one") is not None
    assert bucket.create("r/ab/x", b"two") is None


def test_a_hit_is_one_request_and_a_miss_one_that_finds_nothing(
    proxy: Proxy, behind: dict[str, Any]
) -> None:
    with cache(_made(behind)):
        double(1)
    with cache(_made(behind)):
        double(9)  # What is looked at once in a while is looked at.
        proxy.requests.clear()
        assert double(1) == 2
        assert [method for method, _ in proxy.requests] == ["GET"]
        proxy.requests.clear()
        double(2)
        methods = [(method, path.split("/")[3]) for method, path in proxy.requests]
        argument, result, record = [("HEAD", "v"), ("PUT", "v")], ("PUT", "v"), ("PUT", "r")
        assert methods == [("GET", "r"), *argument, result, record]


def test_a_server_that_says_nothing(
    proxy: Proxy, behind: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    proxy.fault = lambda method, path: 30.0
    with cache(_made({**behind, "timeout": 0.3})):
        begun = time.monotonic()
        assert double(6) == 12
        assert time.monotonic() - begun < 10
    assert "timeout" in caplog.text or "out of reach" in caplog.text


def test_what_is_out_of_reach_is_not_asked_by_each_call(
    proxy: Proxy, behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_REST", 60.0)
    proxy.fault = lambda method, path: 30.0
    with cache(_made({**behind, "timeout": 0.2})):
        double(7)
        asked = len(proxy.requests)
        assert [double(x) for x in range(20)] == [2 * x for x in range(20)]
        assert len(proxy.requests) == asked


def test_an_interrupt_ends_a_wait(proxy: Proxy, behind: dict[str, Any]) -> None:
    waiting = threading.Event()

    def fault(method: str, path: str) -> Fault:
        waiting.set()
        return 30.0

    proxy.fault = fault
    held = _made({**behind, "timeout": 30.0})
    sent: list[float] = []

    def interrupt() -> None:
        waiting.wait()
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        held.calls.get("ab" * 32)  # type: ignore[attr-defined]
    took = time.monotonic() - sent[0]
    thread.join()
    # Twice what is promised: machines that test are busy.
    assert took < 0.4


def test_who_may_only_read_gets_hits(
    on_seaweedfs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with cache(_made(on_seaweedfs)):
        double(1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READERS_SECRET)
    # As another process.
    monkeypatch.setattr(places, "_PLACES", {})
    with cache(_made(on_seaweedfs)):
        assert (double(1), double(2)) == (2, 4)
    assert RUNS == [1, 2]
    assert "do not permit" in caplog.text
    caplog.clear()
    with cache(_made({**on_seaweedfs, "read_only": True})):
        assert (double(1), double(3)) == (2, 6)
    assert "s3://" not in caplog.text


def test_a_bucket_that_is_not_there(seaweedfs: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    held = _made({"url": "s3://nothing-here/a", "endpoint": seaweedfs.endpoint})
    with cache(held):
        assert double(1) == 2
    assert "s3://nothing-here/a" in caplog.text
    assert "no such bucket" in caplog.text
    with pytest.raises(BucketError) as raised:
        held.calls.get("ab" * 32)  # type: ignore[attr-defined]
    assert raised.value.kind == "no bucket"
    assert pickle.loads(pickle.dumps(raised.value)).kind == "no bucket"


def test_no_secret_is_ever_shown(
    proxy: Proxy, behind: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    held = _made({**behind, "secret_key": None} | {"secret_key": ["00ff"]})
    key = held.save(Call("f", {"x": 1}, result=2))
    proxy.fault = lambda method, path: (403, "SignatureDoesNotMatch", "no")
    with pytest.raises(BucketError) as raised:
        held.calls.get(key)  # type: ignore[attr-defined]
    plain = _made(behind)
    shown = [repr(held), str(raised.value), caplog.text, repr(cache_to_config(plain))]
    shown += [repr(pickle.dumps(plain)), repr(vars(plain.calls))]  # type: ignore[attr-defined]
    assert not any(SECRET in text for text in shown)
    assert "00ff" not in repr(held)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://me:s3cret@bucket/a", "credentials"),
        ("s3:///a", "names no bucket"),
        ("https://bucket/a", "no URL of a bucket"),
        ("s3://bucket/a?versionId=3", "no part behind"),
        ("file://host/a", "three slashes"),
    ],
)
def test_urls_that_are_none_are_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        _made({"url": url})
    assert "s3cret" not in str(raised.value)


def test_profiles(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    access, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    (folder / "credentials").write_text(
        f"[mine]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    )
    (folder / "config").write_text(
        f"[profile mine]\nregion = us-east-1\nendpoint_url = {seaweedfs.endpoint}\n"
    )
    settings = {"url": f"s3://{seaweedfs.new_bucket()}", "profile": "mine"}
    with cache(_made(settings)):
        assert double(1) == 2
    with cache(_made(settings)):
        assert double(1) == 2
    assert RUNS == [1]
    with cache(_made({**settings, "profile": "other"})), pytest.raises(ValueError, match="other"):
        _made({**settings, "profile": "other"}).calls.list()  # type: ignore[attr-defined]
