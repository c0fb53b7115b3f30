"""Our client with the reference's server, and the reference's client with ours, for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleche import cache, fleche
from fleche.call import Call, QueryCall
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from fleche.remote import SshCache
from fleche.remote.frames import FrameTooLarge

from .conftest import Remote

PROGRAM = Path(__file__).with_name("client_program.py")


@pytest.fixture
def theirs(sha256: None, remote: Remote, reference_python: Path) -> SshCache:
    """A cache that the reference serves."""
    text = (remote.folder / "fleche.toml").read_text().replace('digest = "sha256"\n', "")
    remote.configure(text)
    return remote.cache(python=str(reference_python))


def test_the_version_difference_is_told(theirs: SshCache, caplog: pytest.LogCaptureFixture) -> None:
    assert theirs.info()["fleche_version"] == "0.22.2"
    assert "has fleche 0.22.2" in caplog.text
    assert not theirs.read_only


def test_scheme_exact_is_refused(
    theirs: SshCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fleche._core.scheme", lambda: "exact")
    with pytest.raises(RuntimeError, match="FLECHE_DIGEST=sha256"):
        theirs.contains("ab" * 32)


def test_all_operations_on_their_server(theirs: SshCache, remote: Remote) -> None:
    call = Call("f", {"x": [1, 2], "y": "text"}, {"tags": {"a": "b"}}, "lab", "1", None, {"r": 3.5})
    key = theirs.save(call)
    assert key == call.to_lookup_key()
    assert theirs.contains(key)
    assert not theirs.contains(digest("absent"))
    assert theirs.load(key).fetch() == call
    assert theirs.load(key).detach() == call.digest()
    assert theirs.load(key[:12]).result == {"r": 3.5}
    value = theirs.load(key).detach().result
    assert value is not None
    assert theirs.load_value(value) == {"r": 3.5}
    assert theirs._save_value("another") == digest("another")
    assert theirs.expand(key[:12]) == key
    assert key.startswith(theirs.shrink(key))
    assert theirs.shrink(key, key) == (theirs.shrink(key),) * 2
    assert theirs.query(name="f").only().fetch() == call
    assert theirs.query(QueryCall(arguments={"y": "text"})).count() == 1
    assert theirs.query(name="g").empty()
    prepared = theirs.prepare(Call("g", {"x": 1}))
    other = prepared.commit("done", {"tags": {"c": "d"}})
    assert theirs.load(other).fetch() == Call("g", {"x": 1}, {"tags": {"c": "d"}}, result="done")
    assert theirs._load_values([value, digest("absent")]) == {value: {"r": 3.5}}
    theirs.evict(key)
    assert not theirs.contains(key)
    with pytest.raises(KeyError):
        theirs.load(key)
    # Direct: the same files.
    assert remote.store().load(other).result == "done"


def test_transfer_from_and_to_their_server(theirs: SshCache) -> None:
    here = cache_from_config({"template": "memory"})
    for n in range(5):
        here.save(Call("f", {"x": n}, result=np.arange(n + 1)))
    here.transfer(theirs)
    back = cache_from_config({"template": "memory"})
    theirs.transfer(back)
    assert sorted(len(each) for each in back.query().results()) == [1, 2, 3, 4, 5]


def test_decorated_calls_hit_on_their_server(theirs: SshCache, reference_python: Path) -> None:
    ran = []

    @fleche
    def double(x: int) -> list[int]:
        ran.append(x)
        return [x, x]

    with cache(theirs):
        assert double(3) == double(3) == [3, 3]
        assert ran == [3]
        assert double.query().only().arguments["x"] == 3  # type: ignore[attr-defined]


def test_their_server_cannot_take_4_gib(theirs: SshCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleche.remote.frames.LONG", 1000)
    with pytest.raises(FrameTooLarge, match=r"less than 4 GiB.*fleche on both ends"):
        theirs._save_value(bytes(2000))
    monkeypatch.undo()
    assert theirs.info()


def run(python: Path, remote: Remote, server: str, step: str) -> dict[str, Any]:
    """What the program of a client prints; it runs in either package."""
    settings = remote.settings(python=server)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(remote.folder),
        "FLECHE_DIGEST": "sha256",
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [python, PROGRAM, json.dumps(settings), step],
        capture_output=True,
        text=True,
        env=environment,
        cwd=remote.folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_their_client_with_our_server(sha256: None, remote: Remote, reference_python: Path) -> None:
    """All operations give the same as with a server of their own, and all keys."""
    ours = Path(sys.executable)
    seen = run(reference_python, remote, str(ours), "operations")
    for directory in ("values", "calls"):
        (remote.folder / directory).rename(remote.folder / f"{directory} of the first")
    text = (remote.folder / "fleche.toml").read_text()
    remote.configure(text.replace('digest = "sha256"\n', ""))
    assert seen == run(reference_python, remote, str(reference_python), "operations")
    assert seen == run(ours, remote, str(reference_python), "operations")
    remote.configure(text)
    assert seen == run(ours, remote, str(ours), "operations")


@pytest.mark.parametrize("server", ["ours", "theirs"])
def test_hits_both_ways(sha256: None, remote: Remote, reference_python: Path, server: str) -> None:
    """What one client computed, the other finds, through either server."""
    ours = Path(sys.executable)
    if server == "theirs":
        text = (remote.folder / "fleche.toml").read_text()
        remote.configure(text.replace('digest = "sha256"\n', ""))
    serving = str(ours if server == "ours" else reference_python)
    for first, second, step in (
        (reference_python, ours, "calls 1"),
        (ours, reference_python, "calls 100"),
    ):
        computed = run(first, remote, serving, step)
        found = run(second, remote, serving, step)
        assert computed["results"] == found["results"]
        assert len(computed["ran"]) == len(computed["results"])
        assert found["ran"] == []


def test_records_are_those_of_a_direct_save(
    sha256: None, remote: Remote, reference_python: Path
) -> None:
    """Through our server, the reference's client leaves what it finds without any server."""
    run(reference_python, remote, sys.executable, "calls 1")
    for call in remote.store().query():
        assert call.to_lookup_key() == call.fetch().to_lookup_key()
        assert isinstance(call._result, Digest)
