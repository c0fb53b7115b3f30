"""What goes wrong between two machines: decorated calls return, and errors say what happened."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, fleche
from fleche.caches import Rejected
from fleche.call import Call
from fleche.remote import RemoteConnectionError, SshCache

from .conftest import Remote
from .test_ssh import Evaluated, end_server, seen

SECONDS = 60


def wait_until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@fleche
def double(x: int) -> int:
    return 2 * x


def check_call_survives(broken: SshCache, caplog: pytest.LogCaptureFixture) -> str:
    """A decorated call runs, returns and warns once; gives the text of the connection's error."""
    with cache(broken):
        for _ in range(2):
            caplog.clear()
            assert double(4) == 8
            warned = [r for r in caplog.records if r.levelno >= logging.WARNING]
            assert len(warned) == 1, warned
            assert warned[0].name == "fleche"
    with pytest.raises(RemoteConnectionError) as caught:
        broken.contains("ab" * 32)
    assert "reconnect()" in str(caught.value)
    return str(caught.value)


def script(remote: Remote, text: str) -> str:
    """An interpreter for the remote: a shell script, called as `python -m fleche remote ...`."""
    path = remote.folder / "interpreter"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def bare_python(remote: Remote) -> str:
    """The interpreter without the packages of this environment."""
    return script(remote, f'exec {sys._base_executable} -I -S "$@"')  # type: ignore[attr-defined]


BROKEN: dict[str, tuple[Callable[[Remote], dict[str, Any]], list[str]]] = {
    "host unknown": (
        lambda remote: {"host": "nobody@no-such-host.invalid"},
        ["remote exit code: 255", "no-such-host.invalid", "ssh itself failed"],
    ),
    "port closed": (
        lambda remote: {"ssh_options": replace(remote.server, port=1).options},
        ["remote exit code: 255"],
    ),
    "key refused": (
        lambda remote: {
            "ssh_options": remote.server.options_with(key=remote.server.new_key("other"))
        },
        ["remote exit code: 255", "Permission denied", "ssh itself failed"],
    ),
    "no Python there": (
        lambda remote: {"python": "/no/such/python3"},
        ["/no/such/python3", "does not find a command", "python="],
    ),
    "no fleche there": (
        lambda remote: {"python": bare_python(remote)},
        ["remote exit code: 1", "No module named fleche", "fleche[ssh]"],
    ),
    "a setup command fails": (
        lambda remote: {"setup_commands": ("echo preparing >&2", "false", "echo not this >&2")},
        ["remote exit code: 1", "remote stderr (last 1 lines):", "preparing"],
    ),
    "no such workdir": (
        lambda remote: {"workdir": "/no/such/folder"},
        ["/no/such/folder", "remote exit code:"],
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_connection_that_cannot_be_made(
    kind: str, remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    settings, expected = BROKEN[kind]
    text = check_call_survives(remote.cache(**settings(remote)), caplog)
    for part in expected:
        assert part in text


def test_no_ssh(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = remote.cache()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(remote.folder))
        assert "Install an OpenSSH client" in check_call_survives(broken, caplog)
    # Nothing starts again by itself.
    with pytest.raises(RemoteConnectionError):
        broken.info()
    broken.reconnect()
    assert broken.info()["cwd"] == str(remote.folder)


def test_nothing_is_started_twice(fake_ssh: Callable[[str], Path], tmp_path: Path) -> None:
    """A second factor would be asked for each time."""
    fake_ssh(f"echo started >> {tmp_path}/starts; echo not today >&2; exit 255")
    broken = SshCache("host")
    for _ in range(3):
        with pytest.raises(RemoteConnectionError, match="not today"):
            broken.load("ab" * 32)
    assert (tmp_path / "starts").read_text() == "started\n"
    broken.reconnect()
    with pytest.raises(RemoteConnectionError, match="not today"):
        broken.load("ab" * 32)
    assert (tmp_path / "starts").read_text() == "started\n" * 2


def test_the_server_is_killed_before_a_request(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    served = remote.cache()
    with cache(served):
        assert double(1) == 2
    end_server(served)
    text = check_call_survives(served, caplog)
    assert "connection lost during" in text
    assert "remote exit code: " in text
    served.reconnect()
    with cache(served):
        assert double.contains(1)  # type: ignore[attr-defined]
        assert double(4) == 8
        assert double.contains(4)  # type: ignore[attr-defined]


def test_the_server_is_killed_during_a_request(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    served = remote.cache()
    expression = "__import__('os').write(2, b'last words\\n'), __import__('os')._exit(7)"
    with pytest.raises(RemoteConnectionError) as caught:
        served._save_value(Evaluated(expression))
    for part in ("lost during 'save_value'", "remote exit code: 7", "last words", "reconnect()"):
        assert part in str(caught.value)
    assert "last words" in check_call_survives(served, caplog)
    served.reconnect()
    assert served.info()["pid"]


def test_the_server_is_killed_while_a_call_computes(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    served = remote.cache()
    runs = []

    @fleche
    def compute(x: int) -> str:
        runs.append(x)
        end_server(served)
        return "done"

    with cache(served):
        assert compute(1) == "done"
    assert runs == [1]
    [warning] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning.message.startswith("Cache failed to save")
    assert remote.store().query().empty()


def test_the_network_is_cut_while_the_server_works(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    served = remote.cache()
    pid = served.info()["pid"]
    begun = remote.folder / "begun"
    expression = f"open({str(begun)!r}, 'w').close(), __import__('time').sleep(1000)"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(served._save_value, Evaluated(expression))
        wait_until(begun.exists, "the server works")
        process = served._conn._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(RemoteConnectionError, match="remote exit code: -9"):
            answer.result(SECONDS)
    check_call_survives(served, caplog)
    # The server ends, although it is in the middle of something.
    wait_until(lambda: not is_running(pid), "the server ends")
    served.reconnect()
    assert served.info()["pid"] != pid


CUT_OFF = """\
from fleche.config import cache_from_config
from fleche.remote.frames import Reader, Writer, pack
from fleche.remote.server import server_info

requests, replies = Reader(open(0, "rb", buffering=0)), open(1, "wb", buffering=0)
requests.frame()
info = server_info(cache_from_config({{"template": "memory"}}), None)
Writer(replies).write(pack(("ok", info)), long_frames=False)
requests.frame()
replies.write({sent!r})
"""


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", "it ended before a frame"),
        (b"\0\0", "in the middle of a frame, 2 bytes short"),
        (b"\0\0\1\0" + bytes(99), "in the middle of a frame, 157 bytes short"),
        (b"\0\1\0\0" + bytes(99), "in the middle of a frame, 65437 bytes short"),
        (b"\xff\xff\xff\xff\0\0\0\1" + bytes(4), "in the middle of a frame"),
        (b"\xff\xff\xff\xff\0\0\0\1" + bytes(7) + b"\4ab", "a frame, 2 bytes short"),
        (b"\xff\xff\xff\xff\0\0\0\0", "what came is no frame"),
    ],
)
def test_the_network_is_cut_in_the_middle_of_a_frame(
    sent: bytes,
    expected: str,
    fake_ssh: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = tmp_path / "server.py"
    program.write_text(CUT_OFF.format(sent=sent))
    fake_ssh(f"exec {sys.executable} {program}")
    broken = SshCache("host")
    with pytest.raises(RemoteConnectionError) as caught:
        broken.contains("ab" * 32)
    assert expected in str(caught.value)
    check_call_survives(broken, caplog)


def test_a_connection_that_stands_still_for_a_while(remote: Remote) -> None:
    served = remote.cache()
    key = served.save(Call("f", {"x": 1}, result=bytes(1_000_000)))
    process = served._conn._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(lambda: served.load(key).result)
            done = threading.Event()
            answer.add_done_callback(lambda _: done.set())
            assert not done.wait(0.3)
            os.kill(process.pid, signal.SIGCONT)
            assert answer.result(SECONDS) == bytes(1_000_000)
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_closing_ends_a_call_that_hangs(remote: Remote) -> None:
    served = remote.cache()
    served.info()
    process = served._conn._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(served.contains, "ab" * 32)
        served.reconnect()
        with pytest.raises(RemoteConnectionError):
            answer.result(SECONDS)
    served.reconnect()
    assert not served.contains("ab" * 32)


def test_an_exception_that_cannot_be_pickled(remote: Remote) -> None:
    class Odd(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not this one")

    class Raising:
        """Travels by value, and raises where it is saved."""

        def to_lookup_key(self) -> str:
            raise Odd("what happened")

    served = remote.cache()
    with pytest.raises(RuntimeError) as caught:
        served._ask("save", Raising())
    assert type(caught.value) is RuntimeError
    assert "Odd: what happened\nTraceback (most recent call last)" in str(caught.value)
    assert served.info()["pid"]


def test_an_exception_that_cannot_be_unpickled_here(remote: Remote) -> None:
    (remote.folder / "only_there.py").write_text("class Odd(Exception): pass\n")

    class Raising:
        def to_lookup_key(self) -> str:
            raise __import__("only_there").Odd("what happened")

    with pytest.raises(RuntimeError, match="Odd: what happened\nTraceback"):
        remote.cache()._ask("save", Raising())


def test_an_exception_of_the_server_says_where(remote: Remote) -> None:
    served = remote.cache()
    with pytest.raises(TypeError) as caught:
        served._ask("contains")
    assert any("Traceback" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("exception", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_a_server_is_not_ended_by_what_it_unpickles(remote: Remote, exception: str) -> None:
    served = remote.cache()
    pid = served.info()["pid"]
    with pytest.raises((ValueError, RuntimeError)):
        served._save_value(Evaluated(f"(_ for _ in ()).throw({exception})"))
    assert served.info()["pid"] == pid


def test_what_the_served_code_prints_is_no_frame(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fleche.remote.host")
    served = remote.cache()
    noise = "print('from Python', flush=True)"
    raw = "__import__('os').write(1, b'from C\\n')"
    child = "__import__('subprocess').run(['echo', 'from a child'])"
    assert seen(served, f"str(({noise}, {raw}, {child}) and 'fine')") == "fine"
    assert seen(served, "__import__('sys').stdin.read()") == ""
    served.close()
    lines = [r.message for r in caplog.records if r.name.startswith("fleche.remote.host.")]
    assert {"from Python", "from C", "from a child"} <= set(lines)
    name = "fleche.remote.host." + remote.server.host.replace("@", "_at_").replace(".", "_")
    assert {r.name for r in caplog.records if r.message == "from C"} == {name}


CLIENT = """\
import os, signal, sys
from fleche.config import cache_from_config
cache = cache_from_config({config!r})
print(cache.info()["pid"], flush=True)
if {half}:
    os.write(cache._conn._process.requests.fileno(), b"\\0\\0\\1\\0half of a frame")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_dies_leaves_no_server(remote: Remote, half: bool) -> None:
    config = {"type": "ssh", **remote.settings()}
    program = CLIENT.format(config=config, half=half)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    wait_until(lambda: not is_running(pid), "the server ends")


def test_a_read_only_server(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    remote.store().save(Call("f", {"x": 1}, result=2))
    text = (remote.folder / "fleche.toml").read_text()
    remote.configure(text + "read_only = true\n")
    served = remote.cache()
    assert served.read_only
    key = Call("f", {"x": 1}).to_lookup_key()
    assert served.load(key).result == 2
    for operation in (
        lambda: served.save(Call("f", {"x": 2}, result=2)),
        lambda: served.evict(key),
        lambda: served._save_value(1),
        lambda: served.prepare(Call("f", {"x": [5]})).commit(1),
    ):
        with pytest.raises(Rejected):
            operation()
    with cache(served):
        assert double(4) == 8
    assert [r.message.split(":")[0] for r in caplog.records if r.levelno >= logging.WARNING] == [
        "Cache rejected save"
    ]
    # Nothing was stored, arguments neither.
    values: Any = remote.store()
    assert len(list(values.values.list())) == 2


def test_a_version_difference(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    program = (
        'import sys; from fleche import _core; _core.VERSION = "99.0"; '
        "from fleche.cli import main; sys.exit(main())"
    )
    served = remote.cache(
        python=script(remote, f"shift 2; exec {sys.executable} -c '{program}' \"$@\"")
    )
    assert served.info()["fleche_version"] == "99.0"
    served.info()
    [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"has fleche 99.0, and this process {_core.VERSION}" in warning.message
    key = served.save(Call("f", {"x": 1}, result=2))
    assert served.load(key).result == 2


def test_another_digest_scheme(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    remote.configure(scheme="sha256")
    served = remote.cache()
    assert served.info()["digest"] == "sha256"
    with cache(served):
        assert double(4) == 8
    [warning] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning.exc_info is not None
    assert "FLECHE_DIGEST=sha256" in str(warning.exc_info[1])
    with pytest.raises(RemoteConnectionError, match="digest = 'sha256' in the section"):
        served.contains("ab" * 32)
    # As soon as both have one, nothing has to be connected anew.
    _core.set_scheme("sha256")
    try:
        with cache(served):
            assert double(4) == 8
            assert double.contains(4)  # type: ignore[attr-defined]
    finally:
        _core.set_scheme("exact")


def test_no_cloudpickle_here(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = remote.cache()
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ImportError, match=r"pip install 'fleche\[ssh\]'"):
        served.info()
    with cache(served):
        assert double(4) == 8
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_no_cloudpickle_there(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    (remote.folder / "cloudpickle.py").write_text("raise ImportError('hidden')\n")
    text = check_call_survives(remote.cache(), caplog)
    assert "fleche remote: a cache over SSH needs the package cloudpickle" in text
    assert "remote exit code: 1" in text


def test_a_mistake_in_the_remote_configuration(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    remote.configure('[default]\nroot = true\ncache = "c"\n[c]\nvalues = {type = "pickel"}\n')
    text = check_call_survives(remote.cache(), caplog)
    assert "fleche remote: " in text
    assert "fleche.toml, [c]" in text


def test_an_interrupt_while_waiting(remote: Remote) -> None:
    served = remote.cache()
    pid = served.info()["pid"]
    begun = remote.folder / "begun"
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until(begun.exists, "the server works")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    expression = f"open({str(begun)!r}, 'w').close(), __import__('time').sleep(1000)"
    # Programs that run in the background of a shell are started with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            served._save_value(Evaluated(expression))
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: not is_running(pid), "the server ends")
    with pytest.raises(RemoteConnectionError, match="'save_value' was interrupted"):
        served.contains("ab" * 32)
    served.reconnect()
    assert not served.contains("ab" * 32)


def test_an_interrupt_of_the_program_is_none_of_the_connection(remote: Remote) -> None:
    """A terminal sends it to `ssh` as well."""
    served = remote.cache()
    pid = served.info()["pid"]
    process = served._conn._process
    assert process is not None
    os.kill(process.pid, signal.SIGINT)
    assert served.info()["pid"] == pid


def test_a_reply_that_cannot_be_unpickled_here(remote: Remote) -> None:
    (remote.folder / "only_there.py").write_text("class Thing: pass\n")
    served = remote.cache()
    key = served._save_value(Evaluated("__import__('only_there').Thing"))
    with pytest.raises(RuntimeError, match="cannot be unpickled here: ModuleNotFoundError"):
        served.load_value(key)
    assert served.info()["pid"]


def test_a_request_that_cannot_be_unpickled_there(remote: Remote) -> None:
    served = remote.cache()
    with pytest.raises(ValueError, match=r"cannot be unpickled here: .*NameError"):
        served._save_value(Evaluated("no_such_name"))
    with pytest.raises(TypeError, match="generator"):
        served._save_value(number for number in [1])
    assert served.info()["pid"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_network_that_falls_silent(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody says that it is gone; `ssh` finds out, if it is told to."""
    alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "-o", "LogLevel=INFO")
    served = remote.cache(ssh_options=(*alive, *remote.server.options))
    pid = served.info()["pid"]
    # What `sshd` runs for this login.
    session = parent_of(pid)
    assert "sshd" in Path(f"/proc/{session}/comm").read_text()
    os.kill(session, signal.SIGSTOP)
    try:
        text = check_call_survives(served, caplog)
    finally:
        os.kill(session, signal.SIGCONT)
    assert "not responding" in text
    wait_until(lambda: not is_running(pid), "the server ends")
