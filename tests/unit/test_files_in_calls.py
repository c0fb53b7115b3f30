"""Calls with files: as arguments, in records, and as results."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
from typing_extensions import TypeAliasType

from fleche import File, Ignored, Required, cache, fleche, wrap_executor
from fleche.caches import BaseCache, Cache, CacheStack
from fleche.call import Call, QueryCall
from fleche.config import cache_from_config
from fleche.digest import Indigestible
from fleche.files import FileChanged
from fleche.storage import CallMemory, ValueMemory

from .written import read, run, write

Log = pytest.LogCaptureFixture

ran: list[Any] = []

LOG = File("log")

# So much that it is remembered, where that is safe.
LARGE = 100_000


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(
    params=["memory", "pickle", "cloudpickle", "sql", "sqlite", "bagofholding_hdf", "stack"]
)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    def of(template: str) -> BaseCache:
        config = {"template": template}
        if template != "memory":
            config["root"] = str(tmp_path / "store")
        if template == "sql":
            config["values"] = "pickle"
        return cache_from_config(config)

    found = of(request.param) if request.param != "stack" else CacheStack((of("memory"), of("sql")))
    with cache(found):
        yield found


@pytest.fixture
def memory() -> Iterator[Cache]:
    with cache(found := Cache(ValueMemory({}), CallMemory({}))):
        yield found


@fleche
def content(data: File, times: int = 1) -> str:
    ran.append(data)
    assert type(data) is File
    return read(data) * times


# As arguments.


def test_calls_count_by_content(held: BaseCache) -> None:
    a, b = write("a.txt", "one"), write("b.csv", "one")
    assert [content("a.txt"), content(a), content(File(b)), content(data="b.csv")] == ["one"] * 4
    assert len(ran) == 1
    write(a, "two")
    assert content(a) == "two"
    assert content(b) == "one"
    assert len(ran) == 2
    assert content.contains("a.txt")
    assert content.load(b) == "one"
    assert content.digest("b.csv") == content.digest(File(b)) != content.digest(a)
    assert content.call("a.txt").arguments == {"data": File(a), "times": 1}
    assert content.rerun(b) == "one"
    assert len(ran) == 3


def test_records_hold_where_it_was_and_what_it_was(held: BaseCache) -> None:
    path = write("a.txt", "one" * LARGE)
    before = File(path).digest
    content(path)
    (call,) = content.query(data=File(path))
    assert call.arguments["data"] == File(path)
    assert call.arguments["data"].recorded == before
    assert len(pickle.dumps(call.arguments["data"])) < 300
    write("elsewhere", "one" * LARGE)
    assert len(list(content.query("elsewhere"))) == 1
    write(path, "two")
    assert not list(content.query(path))
    (call,) = content.query(data=before)
    assert call.arguments["data"].recorded == before
    assert not call.arguments["data"].is_unchanged()


def test_a_recorded_call_is_never_filed_under_another_content(held: BaseCache) -> None:
    path = write("a.txt", "one")
    content(path)
    (call,) = content.query()
    assert call.fetch().to_lookup_key() == call.to_lookup_key()
    write(path, "two")
    with pytest.raises(Indigestible, match="changed since it was stored"):
        call.fetch().to_lookup_key()
    if isinstance(held, Cache):
        held.redigest()
    assert content(path) == "two"


def test_an_argument_from_a_record_counts_as_it_is_now(held: BaseCache) -> None:
    path = write("a.txt", "one")
    content(path)
    (call,) = content.query()
    write(path, "two")
    recorded = call.arguments["data"]
    assert [content(recorded), content(recorded), content(path)] == ["two"] * 3
    assert len(ran) == 2
    records = {each.arguments["data"].recorded for each in content.query()}
    assert records == {call.arguments["data"].recorded, File(path).digest}


@fleche
def plain(data: Any) -> str:
    ran.append(data)
    return Path(data).read_text()


def test_a_parameter_need_not_say_it(memory: Cache) -> None:
    path = write("a", "1")
    assert plain(File(path)) == plain(File(path)) == "1"
    assert len(ran) == 1
    assert plain(path) == plain(str(path)) == "1"
    assert len(ran) == 3
    write(path, "2")
    assert plain(File(path)) == "2"
    # A path is its text, as ever.
    assert plain(path) == "1"
    (old,) = [
        call
        for call in plain.query()
        if call.result == "1" and isinstance(call.arguments["data"], File)
    ]
    assert plain(old.arguments["data"]) == "2"
    assert len(ran) == 4


Tree = TypeAliasType("Tree", "File | list[Tree]")  # type: ignore[misc]

ANNOTATIONS: list[tuple[Any, Callable[[Any], Any]]] = [
    (File, lambda path: path),
    ("File", lambda path: path),
    ("Optional[File]", lambda path: path),
    (Optional[File], lambda path: path),  # noqa: UP045
    (Optional["File"], lambda path: path),
    (File | None, lambda path: path),
    (File | str, lambda path: path),
    (Annotated[File, "what it is"], lambda path: path),
    (Annotated[str, File], lambda path: path),
    (Required[File], lambda path: path),
    ("OnlyForCheckers | File", lambda path: path),
    (list[File], lambda path: [path]),
    ("Sequence[File]", lambda path: (path,)),
    (list["File"], lambda path: [path]),  # type: ignore[misc]
    (tuple[int, File], lambda path: (1, path)),
    (tuple[File, ...], lambda path: (path, path)),
    (dict[str, File] | None, lambda path: {"x": path}),
    (list[tuple[str, File]], lambda path: [("x", path)]),
    (Tree, lambda path: [[path], path]),
    (frozenset[File], lambda path: frozenset([path])),
]


@pytest.mark.parametrize(("annotation", "value"), ANNOTATIONS)
def test_annotations_say_what_is_a_file(
    memory: Cache, annotation: Any, value: Callable[[Any], Any]
) -> None:
    def f(*, data: Any) -> str:
        ran.append(data)
        return repr(data)

    f.__annotations__["data"] = annotation
    write("a", "1"), write("b", "1")
    cached = fleche(f)
    for path in ("a", "b", Path("a"), File("b")):
        assert "File(" in cached(data=value(path))
    assert len(ran) == 1
    assert cached.contains(data=value("b"))
    assert list(cached.query(data=value("b")))
    write("a", "2")
    assert not cached.contains(data=value("a"))
    assert Call.from_call(f, data=value("a")).arguments == {"data": value(File("a"))}
    assert QueryCall.from_call(f, data=value("a")).arguments == {"data": value(File("a"))}


def test_what_is_no_path_stays_as_it_is(memory: Cache) -> None:
    @fleche
    def f(data: File | int | bytes | None, more: list[File] | None = None) -> Any:
        return data, more

    assert f(None) == (None, None)
    assert f(3, []) == (3, [])
    assert f(b"content") == (b"content", None)
    files = [File("a"), File("b")]
    assert f.call(1, files).arguments["more"] is files


def test_every_kind_of_parameter(memory: Cache) -> None:
    @fleche
    def f(first: File, /, *rest: File, last: File | None = None, **more: File) -> list[Any]:
        ran.append(1)
        return [first, *rest, last, *more.values()]

    for name in "abcd":
        write(name, name)
    for _ in range(2):
        assert f("a", "b", last="c", x="d") == [File("a"), File("b"), File("c"), File("d")]
    assert len(ran) == 1
    assert f.contains("a", "b", last="c", x="d")
    for name in "abcd":
        write(name, name.upper())
        f("a", "b", last="c", x="d")
    assert len(ran) == 5


def test_methods_and_ignored_parameters(memory: Cache) -> None:
    class Reader:
        @fleche
        def read(self, data: File, log: Ignored[File] = LOG) -> tuple[str, str]:
            ran.append(1)
            return read(data), type(log).__name__

        @classmethod
        @fleche
        def known(cls, data: File) -> str:
            return read(data)

    write("a", "1")
    assert Reader().read("a") == Reader().read("a", "elsewhere") == ("1", "File")
    assert len(ran) == 1
    assert Reader.known("a") == "1"
    write("a", "2")
    assert Reader().read("a")[0] == Reader.known("a") == "2"


def test_a_path_as_default_is_refused() -> None:
    def f(data: File | str = "a.csv") -> None: ...

    with pytest.raises(TypeError, match=r"'data' of .* is the path 'a.csv'"):
        fleche(f)

    def g(data: list[File] = ["a"]) -> None: ...  # type: ignore[list-item]  # noqa: B006

    with pytest.raises(TypeError, match=r"write File\(\.\.\.\)"):
        fleche(g)


def test_a_default_counts_by_content(memory: Cache) -> None:
    path = write("a", "1")

    @fleche
    def f(data: File = File(path)) -> str:  # noqa: B008
        return read(data)

    assert f() == "1"
    write(path, "2")
    assert f() == "2"


def test_what_uses_no_files_pays_nothing() -> None:
    program = """
        import sys
        from fleche import cache, fleche
        @fleche
        def f(x: "int", handle: "list[int] | None" = None): return x
        with cache("memory"): f(1), f(1), list(f.query(1))
        print("fleche.files" in sys.modules)
    """
    assert run(program).stdout == "False\n"


def test_an_isolated_call_finds_it(memory: Cache) -> None:
    @fleche(isolate=True)
    def f(data: File) -> str:
        return read(data)

    write("a", "1")
    assert f("a") == "1"


def test_coroutines_and_executors(held: BaseCache) -> None:
    @fleche
    async def awaited(data: File) -> str:
        ran.append(1)
        return read(data)

    write("a", "1")
    assert asyncio.run(awaited("a")) == asyncio.run(awaited("a")) == "1"
    assert len(ran) == 1
    with wrap_executor(ThreadPoolExecutor(2)) as pool:
        assert pool.submit(content, "a").result() == "1"
        assert pool.submit(content, File("a")).result() == "1"
    assert len(ran) == 2


def test_a_process_of_a_pool(tmp_path: Path) -> None:
    write("a", "1")
    with (
        cache(cache_from_config({"template": "pickle", "root": str(tmp_path / "store")})),
        wrap_executor(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) as pool,
    ):
        assert pool.submit(content, File("a")).result() == "1"
        assert content.contains("a")
    assert not ran


# What goes wrong.


def test_a_file_that_is_not_there(memory: Cache, caplog: Log) -> None:
    with pytest.raises(FileNotFoundError):
        content("nowhere.csv")
    assert str(Path("nowhere.csv").absolute()) in caplog.text
    assert "No such file" in caplog.text
    assert "without a cache" in caplog.text
    assert "__digest__" not in caplog.text
    with pytest.raises(FileNotFoundError):
        File("nowhere.csv").digest  # noqa: B018
    strict = fleche(strict=True)(content.__wrapped__)
    with pytest.raises(Indigestible, match=r"nowhere\.csv"):
        strict("nowhere.csv")


@pytest.mark.parametrize("decorate", [fleche, fleche(when=lambda result: True)])
@pytest.mark.parametrize("change", ["write", "remove", "nothing"])
def test_a_file_that_changes_meanwhile(
    memory: Cache, caplog: Log, decorate: Any, change: str
) -> None:
    @decorate
    def f(job: dict[str, Any], data: File, change: Ignored[str] = "nothing") -> str:
        text = read(data)
        if change == "write":
            write(job["data"], f"{text}+")
        elif change == "remove":
            os.remove(job["data"])
        return text

    write("a", "1"), write("b", "1")
    assert f({"data": File("a")}, "b", change) == "1"
    cached = change == "nothing"
    assert f.contains({"data": File("b")}, "b") == cached
    assert ("the content of argument 'job' changed while the call ran" in caplog.text) != cached


def test_a_file_that_changes_meanwhile_is_an_error_in_strict(memory: Cache) -> None:
    @fleche(strict=True)
    def f(data: File, change: Ignored[Callable[[Any], Any]]) -> int:
        change(data)
        return 1

    path = write("a", "1")
    with pytest.raises(ValueError, match="changed its argument 'data'"):
        f(path, lambda data: write(data, "2"))
    with pytest.raises(FileChanged, match="'data'"):
        f(path, os.remove)


# As results.


@dataclasses.dataclass
class Output:
    file: Any
    rows: int = 3


@fleche
def convert(data: File, wrap: str = "alone") -> Any:
    ran.append(1)
    made = File(write(f"{data}.out", read(data).upper()))
    return {"alone": made, "list": [made], "object": Output(made)}[wrap]


@pytest.mark.parametrize("wrap", ["alone", "list", "object"])
def test_a_result_that_is_gone_is_made_again(held: BaseCache, wrap: str) -> None:
    write("a", "text")
    for _ in range(2):
        found = convert("a", wrap)
        file = found if wrap == "alone" else found[0] if wrap == "list" else found.file
        assert file == File("a.out")
        assert read("a.out") == "TEXT"
    assert len(ran) == 1
    os.remove("a.out")
    convert("a", wrap)
    assert read("a.out") == "TEXT"
    assert len(ran) == 2
    write("a.out", "other")
    convert("a", wrap)
    assert read("a.out") == "TEXT"
    assert len(ran) == 3
    convert("a", wrap)
    assert len(ran) == 3


def test_a_result_is_what_the_next_call_takes(held: BaseCache) -> None:
    write("a", "text")
    for _ in range(2):
        assert content(convert("a")) == "TEXT"
    assert len(ran) == 2
    write("b", "text")
    assert content(convert("b")) == "TEXT"
    assert len(ran) == 2


def test_an_executor_makes_what_is_gone_again(held: BaseCache) -> None:
    write("a", "text")
    convert("a")
    os.remove("a.out")
    with wrap_executor(ThreadPoolExecutor(1)) as pool:
        assert pool.submit(convert, "a").result() == File("a.out")
        assert read("a.out") == "TEXT"
        pool.submit(convert, "a").result()
    assert len(ran) == 2
