"""`fleche.config`: files, and the caches and metadata that they name."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import config, fleche
from fleche.caches import (
    BaseCache,
    Cache,
    CachePool,
    CacheStack,
    ReadOnlyCache,
    SizeLimitedCache,
)
from fleche.config import (
    _collect_config_paths,
    _default_memory_cache,
    _live_caches,
    _load_config,
    _load_merged_config,
    cache_from_config,
    cache_to_config,
    load_cache_config,
    load_default_metadata,
)
from fleche.metadata import Environment, Git, Runtime
from fleche.remote import SshCache
from fleche.storage import CallMemory, CallVoid, ValueMemory, ValueVoid

MEMORY = {"values": {"type": "memory"}, "calls": {"type": "memory"}}
VOID = {"values": {"type": "void"}, "calls": {"type": "void"}}
PAGE_EXAMPLE = Path(__file__).parents[1] / "data" / "config-page" / "fleche.toml"
PAGE_SECTIONS = tomllib.loads(PAGE_EXAMPLE.read_text())


def holds(written: Any, given: Any) -> bool:
    """Whether a config says all that another one does, `~` and what is the default aside."""
    if isinstance(given, dict):
        with_defaults = {"python": "python3", **written}
        return all(holds(with_defaults.get(name), given[name]) for name in given)
    if isinstance(given, list):
        return len(written) == len(given) and all(map(holds, written, given))
    home = os.path.expanduser("~")
    return bool(written == given or written == str(given).replace("~", home, 1))


@pytest.fixture
def write(project: Path) -> Callable[[str], Path]:
    """Write the project's `fleche.toml`."""

    def write(text: str) -> Path:
        (project / "fleche.toml").write_text(text)
        return project / "fleche.toml"

    return write


Log = pytest.LogCaptureFixture
Write = Callable[[str], Path]


@pytest.fixture
def log(caplog: Log) -> Iterator[Log]:
    with caplog.at_level(logging.INFO, "fleche.config"):
        yield caplog


class TestPageExample:
    """The example of the configuration page, as it stands."""

    @pytest.fixture(autouse=True)
    def example(self, project: Path) -> None:
        shutil.copy(PAGE_EXAMPLE, project / "fleche.toml")

    def stored_below(self, project: Path, cache: Any) -> bool:
        folder = project.parent / ".fleche"
        return (cache.values.root, cache.calls.root) == (folder / "values", folder / "calls")

    @pytest.mark.parametrize("name", ["persistent", None, "default"])
    def test_persistent_is_the_default(self, project: Path, name: str | None) -> None:
        cache = load_cache_config(name)
        assert type(cache) is Cache
        assert cache.values.serializer == cache.calls.serializer == "cloudpickle"
        assert self.stored_below(project, cache)
        assert load_cache_config("persistent") is cache

    def test_fast(self) -> None:
        assert load_cache_config("fast") == Cache(ValueMemory({}), CallMemory({}))

    def test_limited(self) -> None:
        expected = SizeLimitedCache(ValueMemory({}), CallMemory({}), max_size=100)
        assert load_cache_config("limited") == expected

    def test_readonly(self, project: Path) -> None:
        cache = load_cache_config("readonly")
        assert type(cache) is ReadOnlyCache
        assert type(cache.cache) is Cache
        assert self.stored_below(project, cache.cache)

    def test_mystack(self, project: Path) -> None:
        cache = load_cache_config("mystack")
        assert type(cache) is CacheStack
        memory, files = cache.stack
        assert memory == Cache(ValueMemory({}), CallMemory({}))
        assert self.stored_below(project, files)

    def test_with_sql_calls(self) -> None:
        cache = load_cache_config("with_sql_calls")
        assert isinstance(cache, Cache)
        assert type(cache.calls).__name__ == "Sql"

    def test_shared(self, project: Path) -> None:
        cache = load_cache_config("shared")
        assert isinstance(cache, CacheStack)
        files, ssh = cache.stack
        assert self.stored_below(project, files)
        assert ssh == SshCache(
            "user@bigpc.example.com",
            cache_name="shared",
            python="python3",
            ssh_options=(
                *("-o", "ControlMaster=auto", "-o", "ControlPath=~/.ssh/cm-%r@%h:%p"),
                *("-o", "ControlPersist=10m"),
            ),
            setup_commands=("module load python/3.11", "source ~/.venv/bin/activate"),
            workdir="~/project",
        )

    def test_metadata(self) -> None:
        assert [type(m) for m in load_default_metadata()] == [Runtime]

    @pytest.mark.parametrize("name", [n for n in PAGE_SECTIONS if n != "default"])
    def test_every_section_is_written_as_it_was_read(self, name: str) -> None:
        cache = load_cache_config(name)
        written = cache_to_config(cache)
        assert cache_from_config(written) == cache
        assert cache_to_config(cache_from_config(written)) == written
        assert holds(written, PAGE_SECTIONS[name]), "what the file says is there"


class TestDiscovery:
    def test_closest_first_and_xdg_last(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = project.parent
        inner = project / "a" / "b"
        inner.mkdir(parents=True)
        user_file = home / ".config" / "fleche" / "cache.toml"
        user_file.parent.mkdir(parents=True)
        beyond = home.parent / "fleche.toml"
        files = [inner / "fleche.toml", project / "fleche.toml", home / "fleche.toml", user_file]
        for file in [*files, beyond]:
            file.write_text("")
        monkeypatch.chdir(inner)
        assert _collect_config_paths() == files
        files[1].unlink()
        assert _collect_config_paths() == [files[0], *files[2:]]

    def test_xdg_config_home(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = project.parent / "xdg"
        (folder / "fleche").mkdir(parents=True)
        (folder / "fleche" / "cache.toml").write_text("")
        assert _collect_config_paths() == []
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
        assert _collect_config_paths() == [folder / "fleche" / "cache.toml"]
        monkeypatch.setenv("XDG_CONFIG_HOME", "")
        assert _collect_config_paths() == []

    def test_outside_home(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "data" / "x"
        other.mkdir(parents=True)
        (tmp_path / "fleche.toml").write_text("")
        (project.parent / "fleche.toml").write_text("")
        monkeypatch.chdir(other)
        # The machine may have more of them, further up.
        assert _collect_config_paths()[0] == tmp_path / "fleche.toml"
        assert project.parent / "fleche.toml" not in _collect_config_paths()

    def test_a_removed_working_directory(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = project / "gone"
        folder.mkdir()
        monkeypatch.chdir(folder)
        folder.rmdir()
        assert _collect_config_paths() == []
        assert type(load_cache_config()) is Cache


class TestFiles:
    def test_merge_is_shallow_and_the_closest_wins(self, project: Path, write: Write) -> None:
        write("[a]\nx = 1\n[b]\ny = 1\n")
        (project.parent / "fleche.toml").write_text("[b]\nx = 2\n[c]\nz = 2\n[default]\n")
        merged = _load_merged_config()
        assert merged == {"a": {"x": 1}, "b": {"y": 1}, "c": {"z": 2}, "default": {}}

    def test_root_ends_the_walk(self, project: Path, write: Write, log: Log) -> None:
        write("[default]\nroot = true\n[a]\nx = 1\n")
        (project.parent / "fleche.toml").write_text("[broken")
        user_file = project.parent / ".config" / "fleche" / "cache.toml"
        user_file.parent.mkdir(parents=True)
        user_file.write_text("[b]\n")
        assert _load_merged_config() == {"default": {"root": True}, "a": {"x": 1}}
        assert log.text == ""

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"[a]\n[b\n", "(at line 2, column 3)"),
            (b"[a]\n\xff", "not UTF-8 text (at byte 4)"),
            (None, "No such file"),
        ],
    )
    def test_what_cannot_be_read_is_logged_and_empty(
        self, project: Path, log: Log, content: bytes | None, said: str
    ) -> None:
        path = project / "fleche.toml"
        if content is not None:
            path.write_bytes(content)
        assert _load_config(path) == {}
        assert [r.levelname for r in log.records] == ["ERROR"]
        assert f"Failed to load configuration from {path}: " in log.text
        assert said in log.text

    def test_a_mistake_is_said_once(self, project: Path, write: Write, log: Log) -> None:
        f = fleche(lambda x: x)
        write("[default]\ncache = 'r'\ncache = 's'\n")
        assert (f(1), f(2), f(1)) == (1, 2, 1)
        assert [r.levelname for r in log.records if "fleche.toml" in r.getMessage()] == ["ERROR"]
        write("[default]\ncache = 'r'\n[")
        _load_merged_config()
        write("[default]\ncache = 'r'\n")
        _load_merged_config()
        write("[default]\ncache = 'r'\n[")
        _load_merged_config()
        errors = [r.getMessage() for r in log.records if r.levelname == "ERROR"]
        assert len(errors) == 3
        assert errors[0] != errors[1] == errors[2]

    def test_a_broken_file_hides_no_other(self, project: Path, write: Write, log: Log) -> None:
        write("[broken")
        (project.parent / "fleche.toml").write_text("[m]\ntemplate = 'memory'\nmax_size = 7\n")
        assert load_cache_config("m").max_size == 7  # type: ignore[attr-defined]
        assert "Failed to load configuration" in log.text

    def test_values_are_those_of_tomllib(self, write: Write) -> None:
        text = """
            s = "ä"
            i = -9_000_000_000_000_000_000
            f = [1.5, inf, -0.0]
            b = true
            d = [1979-05-27T07:32:00Z, 1979-05-27T00:32:00.5, 1979-05-27, 07:32:00]
            n = { a = [{ b = 1 }, {}], c = [] }
            [[t]]
            x = 1
            [[t]]
        """
        assert _load_config(write(text)) == tomllib.loads(text)

    def test_relative_paths_are_beside_their_file(self, project: Path, write: Write) -> None:
        write("[near]\ntemplate = 'pickle'\nroot = 'store'\n")
        (project.parent / "fleche.toml").write_text(
            "[far]\nvalues = {type = 'pickle', root = '../v'}\n"
            "calls = {type = 'pickle', root = '~/c'}\n"
        )
        near, far = load_cache_config("near"), load_cache_config("far")
        assert near.values.root == project / "store" / "values"  # type: ignore[attr-defined]
        assert far.values.root == project.parent.parent / "v"  # type: ignore[attr-defined]
        assert far.calls.root == project.parent / "c"  # type: ignore[attr-defined]
        assert _load_merged_config()["near"]["root"] == str(project / "store")


class TestLoading:
    def test_one_object_a_name(self, write: Write) -> None:
        write("[default]\ncache = 'm'\n[m]\ntemplate = 'memory'\n[n]\ntemplate = 'memory'\n")
        m = load_cache_config("m")
        assert m is load_cache_config("m") is load_cache_config() is load_cache_config("default")
        assert load_cache_config("n") is not m
        assert _live_caches.keys() == {"m", None, "default", "n"}

    def test_interned_without_files(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("[m]\ntemplate = 'memory'\n")
        m = load_cache_config("m")
        monkeypatch.setattr(config, "_load_merged_config", pytest.fail)
        assert load_cache_config("m") is m

    def test_special_names_need_no_file(self, write: Write) -> None:
        write("[memory]\ntemplate = 'nope'\n[void]\ntemplate = 'nope'\n")
        assert load_cache_config("memory") == Cache(ValueMemory({}), CallMemory({}))
        assert load_cache_config("void") == Cache(ValueVoid(), CallVoid())
        assert load_cache_config("memory") is load_cache_config("memory")

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("cache = {template = 'memory', max_size = 2}", SizeLimitedCache),
            ("cache = [{template = 'memory'}, {template = 'memory'}]", CacheStack),
            ("cache = 'memory'", Cache),
        ],
    )
    def test_default_as_name_table_or_list(self, write: Write, text: str, kind: type) -> None:
        write(f"[default]\n{text}\n")
        assert type(load_cache_config()) is kind
        assert load_cache_config() is load_cache_config("default")

    @pytest.mark.parametrize(
        ("text", "name", "level", "said"),
        [
            (None, None, "INFO", "no config file found"),
            (None, "x", "INFO", "no config file found (name='x')"),
            ("[a]\n", None, "INFO", "no default cache configured"),
            ("[default]\n", None, "INFO", "no default cache configured"),
            ("[persistent]\n", "persistant", "WARNING", "cache 'persistant' not found in conf"),
            ("[default]\ncache = 'x'\n", None, "WARNING", "cache 'x' not found in configuration"),
            ("[defualt]\ncache = 'x'\n", None, "WARNING", "no default cache configured. Should"),
            ("[Default]\nmetadata = []\n", None, "WARNING", "no default cache configured. Sho"),
            ("[faults]\ntemplate = 'void'\n", None, "INFO", "no default cache configured"),
        ],
    )
    def test_fallbacks_are_said_and_interned(
        self, write: Write, log: Log, text: str | None, name: str | None, level: str, said: str
    ) -> None:
        if text is not None:
            write(text)
        cache = load_cache_config(name)
        assert cache == Cache(ValueMemory({}), CallMemory({}))
        assert [r.levelname for r in log.records] == [level]
        assert log.messages[0].startswith(f"Using default memory cache: {said}")
        assert load_cache_config(name) is cache
        assert len(log.records) == 1

    def test_a_fallback_names_the_nearest_section(self, write: Write, log: Log) -> None:
        write("[persistent]\n")
        load_cache_config("persistant")
        assert "Did you mean 'persistent'?" in log.text

    def test_default_memory_cache(self, project: Path, log: Log) -> None:
        quiet = _default_memory_cache("a")
        assert log.text == ""
        assert _default_memory_cache("a", "because") is quiet is _live_caches["a"]
        assert log.messages == ["Using default memory cache: because"]

    def test_threads_get_one_object(self, write: Write) -> None:
        write("[default]\ncache = 'm'\n[m]\ntemplate = 'memory'\n")
        barrier = threading.Barrier(8)
        seen: list[BaseCache] = []

        def load(name: str | None) -> None:
            barrier.wait()
            seen.append(load_cache_config(name))

        names = ["m", None, "default", "m"] * 2
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(cache) for cache in seen}) == 1


class TestMetadata:
    def test_without_a_file(self, project: Path) -> None:
        assert [type(m) for m in load_default_metadata()] == [Runtime]

    def test_named(self, write: Write) -> None:
        write("[default]\nmetadata = ['Git', 'Environment']\n")
        assert [type(m) for m in load_default_metadata()] == [Git, Environment]
        assert load_default_metadata()[0] is not load_default_metadata()[0]

    def test_none(self, write: Write) -> None:
        write("[default]\nmetadata = []\n")
        assert load_default_metadata() == ()

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("['Tags']", "Unknown or non-configurable metadata type in config: Tags"),
            ("['Runtim']", "Did you mean 'Runtime'?"),
            ("'Runtime'", "'metadata' of section [default] must be a list of names, not this str"),
            ("[1]", "must be a list of names"),
        ],
    )
    def test_mistakes(self, write: Write, value: str, said: str) -> None:
        path = write(f"[default]\nmetadata = {value}\n")
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            load_default_metadata()
        assert str(caught.value).startswith(f"{path}, [default]: ")


class TestMistakesInFiles:
    def test_with_file_and_section(self, project: Path, write: Write) -> None:
        write("[other]\n")
        far = project.parent / "fleche.toml"
        far.write_text("[mine]\ntemplate = 'memory'\nmaxsize = 3\n")
        said = (
            f"{far}, [mine]: Invalid arguments for cache template 'memory': unknown key 'maxsize'"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            load_cache_config("mine")
        assert _live_caches == {}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("cach = 'm'", "unknown key 'cach' for section [default]. Did you mean 'cache'?"),
            ("cache = 3", "key 'cache' of section [default] must be the name of a section"),
            ("cache = 'default'", "cache: 'default' names itself"),
            ("cache = {template = 'x'}", "cache: Unknown cache template 'x'"),
            ("cache = [{template = 'x'}]", "cache: entry 1: Unknown cache template 'x'"),
            ("root = 'yes'", "key 'root' of section [default] must be true or false"),
            (
                "digest = 'md5'",
                "key 'digest' of section [default] must be one of 'exact', 'sha256'",
            ),
        ],
    )
    def test_in_the_default_section(self, write: Write, text: str, said: str) -> None:
        path = write(f"[default]\n{text}\n")
        with pytest.raises(ValueError, match=f"^{re.escape(f'{path}, [default]: {said}')}"):
            load_cache_config()

    def test_a_default_that_is_no_table(self, write: Write) -> None:
        write("default = 'persistent'\n")
        with pytest.raises(ValueError, match=r"\[default\]: expected a table, not a str"):
            load_cache_config()

    def test_a_missing_package_is_an_import_error(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write("[d]\ntemplate = 'dill'\nroot = 'r'\n")
        monkeypatch.setitem(sys.modules, "dill", None)
        with pytest.raises(ImportError, match=r"pip install .*fleche\[dill\]") as caught:
            load_cache_config("d")
        assert caught.value.__notes__ == [f"asked for by {path}, [d]"]
        assert _live_caches == {}


class TestMonkeypatching:
    """Replacing a documented function changes what the others do."""

    def test_paths(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = project / "other.toml"
        file.write_text("[m]\ntemplate = 'memory'\nmax_size = 5\n")
        monkeypatch.setattr(config, "_collect_config_paths", lambda: [file])
        assert _load_merged_config()["m"]["max_size"] == 5
        assert load_cache_config("m").max_size == 5  # type: ignore[attr-defined]

    def test_files(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("")
        monkeypatch.setattr(config, "_load_config", lambda path: {"a": {"x": path.name}})
        assert _load_merged_config() == {"a": {"x": "fleche.toml"}}

    def test_merged(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tables = {"default": {"cache": VOID, "metadata": ["Git"]}}
        monkeypatch.setattr(config, "_load_merged_config", lambda: tables)
        assert load_cache_config() == Cache(ValueVoid(), CallVoid())
        assert [type(m) for m in load_default_metadata()] == [Git]

    def test_building(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("[m]\ntemplate = 'memory'\n")
        made = cache_from_config(VOID)
        with monkeypatch.context() as patch:
            patch.setattr(config, "storage_from_config", lambda d, type: type)
            assert cache_from_config(MEMORY) == Cache("value", "call")  # type: ignore[arg-type]
        monkeypatch.setattr(config, "cache_from_config", lambda d: made)
        assert load_cache_config("m") is made

    def test_fallback(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = cache_from_config(MEMORY)
        monkeypatch.setattr(config, "_default_memory_cache", lambda name, reason=None: made)
        assert load_cache_config("x") is made

    def test_storages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "storage_to_config", lambda s: type(s).__name__)
        cache = CachePool((cache_from_config(VOID),))
        assert cache_to_config(cache) == {"pool": [{"values": "ValueVoid", "calls": "CallVoid"}]}
