"""Files and folders as arguments: they count by content, wherever they are."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import socket
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche import File
from fleche.digest import Digest, Indigestible, digest

from .written import read, run, write

# So much that it is remembered, where that is safe.
LARGE = 100_000

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="by what Linux tells")


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# What a file is.


def test_it_goes_wherever_a_path_goes() -> None:
    path = write("a.csv", "1")
    file = File("a.csv")
    assert os.fspath(file) == str(file) == f"{file}" == str(path)
    assert file.path == Path(file) == path
    assert repr(file) == f"File({str(path)!r})"
    assert read(file) == "1"
    assert file == File(path) == File(file)
    assert hash(file) == hash(File(path))
    assert file != File("b.csv")
    assert file != str(path)
    assert len({file, File(path)}) == 1
    with pytest.raises(AttributeError):
        file.path = Path("b")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        file.more = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        File(3)  # type: ignore[arg-type]


def test_it_is_the_same_file_in_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.txt", "here")
    file = File("a.txt")
    os.mkdir("other")
    monkeypatch.chdir("other")
    write("a.txt", "there")
    assert read(file) == "here"


@given(st.binary(max_size=3), st.binary(max_size=3), st.sampled_from([1, 20_000, 700_000]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_digests_are_equal_where_contents_are(one: bytes, two: bytes, times: int) -> None:
    Path("one.txt").write_bytes(one * times)
    Path("two").write_bytes(two * times)
    assert (File("one.txt").digest == File("two").digest) == (one == two)


def test_a_file_is_neither_its_path_nor_its_bytes() -> None:
    path = write("a", "content")
    for other in (path, str(path), "content", b"content"):
        assert digest(File(path)) != digest(other)
    assert digest(File(path)) == File(path).digest
    assert digest(path) == digest(Path(str(path)))


def test_it_counts_by_content_wherever_it_is() -> None:
    @dataclasses.dataclass
    class Job:
        data: File
        steps: int = 1

    write("a", "1"), write("b", "1"), write("c", "2")
    a, b, c = map(File, "abc")
    for make in (lambda file: [file], lambda file: {"x": (file,)}, Job, lambda file: {file}):
        assert digest(make(a)) == digest(make(b)) != digest(make(c))
        assert digest(make(a), typed=True) == digest(make(b), typed=True) != digest(make(c))


def test_the_schemes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    from fleche import _core

    write("a", "1")
    file = File("a")
    assert _core.digest(file, scheme="sha256") == _core.digest(file, scheme="exact") == file.digest


def test_copies_and_pickles_keep_it() -> None:
    write("a", "1")
    file = File("a")
    assert copy.copy(file) is file
    for other in (
        copy.deepcopy(file),
        pickle.loads(pickle.dumps(file)),
        pickle.loads(pickle.dumps(file, 0)),
        cloudpickle.loads(cloudpickle.dumps(file)),
    ):
        assert other == file
        assert other.recorded == file.digest
        assert other.is_unchanged()
        again = pickle.loads(pickle.dumps(other))
        write("a", "2")
        assert other.recorded == again.recorded != other.digest
        assert not again.is_unchanged()
        write("a", "1")
    assert file.recorded is None
    with pytest.raises(ValueError, match="not loaded"):
        file.is_unchanged()
    missing = pickle.loads(pickle.dumps(File("nowhere")))
    assert missing == File("nowhere")
    assert missing.recorded is None


# What cannot be read.


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and the rights of somebody who has none."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_a_file_that_may_not_be_read(nobody: Path) -> None:
    user = os.geteuid()
    os.seteuid(0 if user == 65534 else user)
    write(nobody / "in/a", "1").chmod(0)
    os.seteuid(user)
    for path in (nobody / "in/a", nobody / "in"):
        with pytest.raises(PermissionError):
            File(path).digest  # noqa: B018
        with pytest.raises(Indigestible, match="Permission denied"):
            digest(File(path))


@pytest.mark.parametrize("where", ["alone", "in a folder"])
def test_what_is_no_file_is_refused(where: str) -> None:
    os.mkdir("in")
    os.mkfifo("in/pipe")
    path = Path("in/pipe") if where == "alone" else Path("in")
    with pytest.raises(OSError, match=r"in/pipe.*pipe, which has no content"):
        File(path).digest  # noqa: B018
    os.remove("in/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("in/pipe")
        with pytest.raises(OSError, match="socket"):
            File(path).digest  # noqa: B018
    with pytest.raises(OSError, match="device"):
        File(os.devnull).digest  # noqa: B018
    with pytest.raises(Indigestible, match="cannot read"):
        digest(File("with\0nul"))


@LINUX
def test_a_file_that_has_more_than_it_says_is_refused() -> None:
    with pytest.raises(OSError, match="keeps changing"):
        File("/proc/self/status").digest  # noqa: B018


# Folders.

TREES = st.recursive(
    st.binary(max_size=2),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "ab", ".h"]), inner, max_size=3),
    max_leaves=5,
)


def plant(path: Path, tree: Any) -> None:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir()
    for name, inner in tree.items():
        plant(path / name, inner)


@given(TREES, TREES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_folders_are_equal_where_all_in_them_is(one: Any, two: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder, "one"), one)
        plant(Path(folder, "two"), two)
        same = File(Path(folder, "one")).digest == File(Path(folder, "two")).digest
    assert same == (one == two)


def test_links_count_as_what_they_lead_to() -> None:
    plant(Path("one"), {"a": b"1", "b": {"c": b"2"}})
    plant(Path("two"), {"b": {"c": b"2"}})
    write("elsewhere", "1")
    os.symlink("../elsewhere", "two/a")
    os.symlink("one", "three")
    assert File("one").digest == File("two").digest == File("three").digest
    os.chmod("one/a", 0o755)
    os.utime("one/a", (0, 0))
    assert File("one").digest == File("two").digest
    write("elsewhere", "3")
    assert File("one").digest != File("two").digest
    # More than once is no loop.
    os.symlink("b", "two/c")
    File("two").digest  # noqa: B018


def test_links_that_lead_nowhere_or_back_are_refused() -> None:
    plant(Path("one"), {"a": {"b": {}}})
    os.symlink("../..", "one/a/b/back")
    with pytest.raises(OSError, match=r"one/a/b/back.*leads back"):
        File("one").digest  # noqa: B018
    os.remove("one/a/b/back")
    os.symlink("nowhere", "one/a/b/back")
    with pytest.raises(FileNotFoundError):
        File("one").digest  # noqa: B018
    with pytest.raises(Indigestible, match=r"one/a/b/back.*No such file"):
        digest(File("one"))


def test_a_deep_folder() -> None:
    path = Path()
    for _ in range(900):
        path /= "d"
    path.mkdir(parents=True)
    depths: list[Digest] = []
    thread = threading.Thread(target=lambda: depths.append(File("d").digest))
    old = threading.stack_size(256 * 1024)
    thread.start()
    thread.join()
    threading.stack_size(old)
    assert depths == [File("d").digest]


def test_names_that_are_no_text() -> None:
    os.mkdir("one")
    name = os.fsdecode(b"\xff\xfe")
    write(f"one/{name}", "1")
    before = File("one").digest
    os.rename(f"one/{name}", "one/a")
    assert before != File("one").digest
    os.rename("one/a", name)
    assert pickle.loads(pickle.dumps(File(name))).is_unchanged()


# What changes.


def test_a_change_in_the_same_tick_is_seen() -> None:
    path = write("a", "")
    seen = set()
    for number in range(200):
        text = f"{number:>{LARGE}}"
        path.write_text(text)
        os.utime(path, ns=(0, 0))
        seen.add(File(path).digest)
    assert len(seen) == 200


def test_a_time_that_is_put_back_hides_nothing() -> None:
    path = write("a", "1" * LARGE)
    before, times = File(path).digest, path.stat()
    path.write_text("2" * LARGE)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert File(path).digest != before
    # Another one that takes its place with all of its times, as `cp -p` and `rsync` do.
    shutil.copy2(write("b", "3" * LARGE), "c")
    os.utime("c", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace("c", path)
    assert File(path).digest == File("b").digest


READ = """
    import sys
    from fleche import File
    def read():
        with open("/proc/self/io") as told:
            return int(told.readline().split()[1])
    def taken(path):
        before = read()
        File(path).digest
        return read() - before
    import fleche.files
    print(*[taken(path) for path in sys.argv[1:] or [PATH] for _ in range(2)])
"""


@LINUX
def test_a_large_file_that_is_old_is_read_once(tmp_path: Path) -> None:
    from fleche import _core

    # A file that was there long before.
    path, size = _core.__file__, os.path.getsize(_core.__file__)
    program = f"PATH = {path!r}\n" + textwrap.dedent(READ)
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": "/nowhere"}
    first, second = map(int, run(program, **home).stdout.split())
    assert first >= size
    assert second < 10_000
    if not (tmp_path / "cache").exists():
        pytest.skip(f"the file system of {path} is none whose digests are kept")
    assert max(map(int, run(program, **home).stdout.split())) < 10_000
    (table,) = tmp_path.glob("cache/fleche/*")
    assert table.stat().st_mode & 0o777 == 0o600
    assert table.stat().st_size < 11_000_000
    # Cut, filled with anything, or not to be written: it is read again, and nothing else happens.
    for damage in (b"", os.urandom(1000) * 11_000):
        table.write_bytes(damage)
        first, second = map(int, run(program, **home).stdout.split())
        assert first >= size
        assert second < 10_000
    # Others might have written to it.
    table.chmod(0o666)
    assert int(run(program, **home).stdout.split()[0]) >= size
    shutil.rmtree(tmp_path / "cache")
    write(tmp_path / "cache", "no folder")
    first, second = map(int, run(program, **home).stdout.split())
    assert first >= size
    assert second < 10_000
    first, second = map(int, run(program, XDG_CACHE_HOME="", HOME="").stdout.split())
    assert first >= size
    assert second < 10_000


@LINUX
def test_a_file_that_is_new_is_read_each_time(tmp_path: Path) -> None:
    path = write("a", "1" * LARGE)
    program = f"PATH = {str(path)!r}\n" + textwrap.dedent(READ)
    both = run(program, XDG_CACHE_HOME=str(tmp_path / "cache")).stdout.split()
    # Unless the machine was so slow that it is not new any more.
    if not (tmp_path / "cache").exists():
        assert min(map(int, both)) >= LARGE


def test_it_is_one_of_those_that_took_turns() -> None:
    texts = ["1" * 3_000_000, "2" * 3_000_000]
    known = {File(write(f"known{i}", text)).digest for i, text in enumerate(texts)}
    path = write("a", texts[0])
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            os.replace(write("new", texts[number % 2]), path)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(lambda _: File(path).digest, range(100)))
    finally:
        stop.set()
        changing.join()
    assert found <= known


def test_children_that_were_forked_digest_too() -> None:
    path = write("a", "1" * 5_000_000)
    expected = File(path).digest
    program = f"""
        import os, threading
        from fleche import File
        file = File({str(path)!r})
        stop = threading.Event()
        def work():
            while not stop.is_set(): file.digest
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads: thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if file.digest == {str(expected)!r} else 3)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        print("done")
    """
    assert run(program).stdout == "done\n"


def test_it_can_be_interrupted() -> None:
    program = """
        import os, signal, tempfile, threading, time
        from fleche import File
        with tempfile.TemporaryFile() as file:
            file.truncate(1 << 40)
            sent = []
            def send():
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.3, send).start()
            try:
                File(f"/dev/fd/{file.fileno()}").digest
            except KeyboardInterrupt:
                print(time.monotonic() - sent[0])
    """
    assert float(run(program).stdout) < 1


def test_others_run_while_it_is_read(
    others_run_during: Callable[[Callable[[], Any]], bool],
) -> None:
    write("a", "1" * 3_000_000)
    assert others_run_during(lambda: File("a").digest)
