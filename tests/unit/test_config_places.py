"""Where a configuration has caches keep their entries: paths, URLs, and the slips in them."""

from __future__ import annotations

import logging
import os
import pwd
import re
from pathlib import Path
from typing import Any

import pytest

from fleche import fleche
from fleche.caches import Cache, CacheStack
from fleche.config import (
    cache_from_config,
    cache_to_config,
    load_cache_config,
    storage_from_config,
)
from fleche.storage import (
    CallMemory,
    CallPickleFile,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
)

Config = dict[str, Any]
FILES = ["pickle", "cloudpickle", "dill", "bagofholding_hdf"]
ENTRY = "ab" * 32


def pair(values: Config, calls: Config) -> Config:
    return {"values": {"type": "pickle", **values}, "calls": {"type": "pickle", **calls}}


# One place for several things


@pytest.fixture
def folder(project: Path) -> Path:
    """With `link`, which leads to `store`."""
    (project / "store").mkdir()
    (project / "link").symlink_to("store")
    return project


@pytest.mark.parametrize(
    ("values", "calls"),
    [
        ({"root": "store"}, {"root": "store"}),
        ({"root": "store"}, {"root": "./store/"}),
        ({"root": "store"}, {"root": "new/../store"}),
        ({"root": "link"}, {"root": "store"}),
        ({"root": "link/new"}, {"root": "store/new"}),
        ({"root": "store"}, {"root": "link", "type": "bagofholding_hdf"}),
        ({"root": "store", "type": "bagofholding_hdf"}, {"root": "store"}),
        ({"root": f"store/{ENTRY}"}, {"root": "store"}),
        ({"root": "store"}, {"root": "store/.locks/calls"}),
        ({"root": "store"}, {"type": "sql", "url": f"link/{ENTRY}"}),
        ({"root": "store"}, {"type": "sql", "url": f"sqlite:///store/{ENTRY}"}),
        ({"root": "store", "type": "bagofholding_hdf"}, {"type": "sql", "url": "store/ab.h5"}),
    ],
)
def test_values_and_calls_in_one_place_are_refused(
    folder: Path, values: Config, calls: Config
) -> None:
    (folder / "fleche.toml").write_text(
        "[default]\ncache = 'slip'\n[slip]\n"
        + "".join(
            f"{kind}.{key} = '{value}'\n"
            for kind, settings in pair(values, calls).items()
            for key, value in settings.items()
        )
    )
    f = fleche(lambda x: x)
    with pytest.raises(ValueError, match=r"place of its own") as refused:
        f(1)
    said = str(refused.value)
    assert said.startswith(f"{folder / 'fleche.toml'}, [slip]: ")
    assert "values" in said
    assert "calls" in said
    with pytest.raises(ValueError, match=r"place of its own"):
        cache_from_config(pair(values, calls))


def test_one_place_is_refused_in_programs_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"both kept in"):
        Cache(ValuePickleFile(tmp_path), CallPickleFile(tmp_path))
    held: dict[Any, Any] = {}
    with pytest.raises(ValueError, match=r"both kept in one dictionary"):
        Cache(ValueMemory(held), CallMemory(held))


@pytest.mark.parametrize(
    ("values", "calls"),
    [
        ({"root": "store"}, {"root": "store2"}),
        ({"root": "store"}, {"root": "store/calls"}),
        ({"root": "store/values"}, {"root": "store"}),
        ({"root": "store"}, {"type": "sql", "url": "store/calls.db"}),
        ({"root": "store"}, {"type": "sql", "url": "sqlite:///:memory:"}),
        ({"type": "memory"}, {"type": "memory"}),
        ({"type": "void"}, {"root": "store"}),
    ],
)
def test_other_places_are_good(folder: Path, values: Config, calls: Config) -> None:
    cache = cache_from_config(pair(values, calls))
    assert cache_from_config(cache_to_config(cache)) == cache


def test_members_that_mix_up_two_places_are_refused(folder: Path) -> None:
    first = {"template": "pickle", "root": "store"}
    swapped = pair({"root": "store/calls"}, {"root": "elsewhere"})
    other = {"template": "pickle", "root": "other"}
    with pytest.raises(ValueError, match=r"^entry 2 and entry 3: the one keeps its values in"):
        cache_from_config([other, first, swapped])
    with pytest.raises(ValueError, match=r"the one keeps its values in"):
        cache_from_config({"pool": [[other, first], swapped]})  # type: ignore[dict-item]
    shared = pair({"root": "store/values"}, {"root": "elsewhere"})
    assert isinstance(cache_from_config([first, shared]), CacheStack)


# Mistyped URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/u:s3cret@h/db",
        "postgresql:u:s3cret@h/db",
        "postgresql//u:s3cret@h/db",
        "postgresql;//u:s3cret@h/db",
        "postgres:/u:s3cret@h/db",
        "postgresq://u:s3cret@h/db",
        "mysql+pymysql:/u:s3cret@h/db",
        "sqlite:/calls.db",
        "sqlite:calls.db",
        "sqlite//calls.db",
        "sqlite://calls.db",
        "sqlit:///calls.db",
        "http://h/calls.db",
        "file:///calls.db",
    ],
)
def test_a_mistyped_scheme_is_no_path(project: Path, url: str) -> None:
    (project / "fleche.toml").write_text(
        f"[r]\nvalues.type = 'memory'\ncalls = {{ type = 'sql', url = '{url}' }}\n"
    )
    for make in (
        lambda: load_cache_config("r"),
        lambda: storage_from_config({"type": "sql", "url": url}, "call"),
        lambda: Sql(url),
    ):
        with pytest.raises(ValueError, match=re.escape(url[:4])) as refused:
            make()
        assert "s3cret" not in str(refused.value)
    assert os.listdir(project) == ["fleche.toml"]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("root", ["s3://bucket/x", "sqlite:///store", "file:///store", "ssh://h/x"])
def test_a_root_is_no_url(project: Path, kind: str, root: str) -> None:
    (project / "fleche.toml").write_text(f"[r]\ntemplate = '{kind}'\nroot = '{root}'\n")
    with pytest.raises(ValueError, match=r"\[r\]: key 'root' .* is a URL"):
        load_cache_config("r")
    with pytest.raises(ValueError, match=r"^key 'root' .* is a URL"):
        storage_from_config({"type": kind, "root": root}, "value")


# Homes


@pytest.mark.parametrize(
    ("root", "home", "said"),
    [
        ("~nosuchuser/cache", "/h", "there is no user 'nosuchuser'"),
        ("~/cache", None, "HOME is not set"),
        ("~", None, "HOME is not set"),
        ("~/cache", "", "HOME is ''"),
        ("~/cache", "relative", "HOME is 'relative'"),
    ],
)
def test_a_home_that_is_not_known(
    project: Path, monkeypatch: pytest.MonkeyPatch, root: str, home: str | None, said: str
) -> None:
    def unknown(user: object) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    (project / "fleche.toml").write_text(
        f"[default]\ncache = 'r'\n[r]\ntemplate = 'pickle'\nroot = '{root}'\n"
        f"[s]\nvalues.type = 'memory'\ncalls = {{ type = 'sql', url = '{root}/c.db' }}\n"
    )
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    place = f"{project / 'fleche.toml'}, [r]: key 'root' of cache template 'pickle': '{root}' needs"
    with pytest.raises(ValueError, match=re.escape(place)) as refused:
        fleche(lambda x: x)(1)
    assert said in str(refused.value)
    for make in (
        lambda: load_cache_config("s"),
        lambda: ValuePickleFile(root),
        lambda: ValueBagOfHoldingH5File(root),
        lambda: Sql(f"{root}/c.db"),
        lambda: Sql(f"sqlite:///{root}/c.db"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


# Environment variables


def test_variables_are_expanded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = project / "scr$atch"
    monkeypatch.setenv("SCRATCH", str(scratch))
    monkeypatch.setenv("PART", "part")
    (project / "fleche.toml").write_text("""
[t]
template = "pickle"
root = "$SCRATCH/cache"
[s]
template = "sql"
values = "pickle"
root = "${SCRATCH}/${PART}s"
[r]
values = { type = "pickle", root = "$PART/values" }
calls = { type = "sql", url = "sqlite:///$PART/calls.db" }
[u]
values = { type = "pickle", root = "cost in $$" }
calls = { type = "sql", url = "sqlite:///$SCRATCH/c.db" }
""")
    found = {name: load_cache_config(name) for name in "tsru"}
    values = {name: cache.values.root for name, cache in found.items()}  # type: ignore[attr-defined]
    assert values == {
        "t": scratch / "cache" / "values",
        "s": scratch / "parts" / "values",
        "r": project / "part" / "values",
        "u": project / "cost in $",
    }
    for name, place in [("s", scratch / "parts" / "calls.db"), ("u", scratch / "c.db")]:
        assert found[name].calls.url == f"sqlite:///{place}"  # type: ignore[attr-defined]
    assert found["r"].calls.url == f"sqlite:///{project}/part/calls.db"  # type: ignore[attr-defined]
    for cache in found.values():
        assert cache_from_config(cache_to_config(cache)) == cache
    given = cache_from_config({"template": "pickle", "root": "$SCRATCH/cache"})
    assert given == found["t"]


@pytest.mark.parametrize("key", ["root", "url"])
@pytest.mark.parametrize("text", ["$NOPE/x", "x/${NOPE}", "${NOPE", "$EMPTY/x"])
def test_unknown_variables_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, key: str, text: str
) -> None:
    monkeypatch.setenv("EMPTY", "")
    (project / "fleche.toml").write_text(
        f"[a]\nvalues.type = 'memory'\ncalls = {{ type = 'sql', url = '{text}' }}\n"
        if key == "url"
        else f"[a]\ntemplate = 'pickle'\nroot = '{text}'\n"
    )
    with pytest.raises(ValueError, match=r"fleche\.toml, \[a\]: .*key '" + key) as refused:
        load_cache_config("a")
    assert (
        "NOPE" in str(refused.value)
        or "EMPTY" in str(refused.value)
        or "brace" in str(refused.value)
    )
    assert os.listdir(project) == ["fleche.toml"]


# Paths


STRANGE = [
    "a?b",
    "a#b",
    "a%20b",
    "a b",
    "a\nb",
    "a'b\"c",
    "a:b",
    "a&b=c",
    "a\\b",
    "a;b",
    "ä€",
    "-a",
]


@pytest.mark.parametrize("kind", [*FILES, "sql"])
@pytest.mark.parametrize("name", STRANGE)
def test_a_path_may_have_any_name(project: Path, kind: str, name: str) -> None:
    folder = project / name
    folder.mkdir()
    more = "values = 'pickle'\n" if kind == "sql" else ""
    (folder / "fleche.toml").write_text(f"[near]\ntemplate = '{kind}'\nroot = 'store'\n{more}")
    os.chdir(folder)
    absolute = {"template": kind, "root": str(folder / name)}
    relative = {"template": kind, "root": name}
    if kind == "sql":
        absolute["values"] = relative["values"] = "pickle"
    caches = [cache_from_config(absolute), cache_from_config(relative), load_cache_config("near")]
    for cache in caches:
        key = saved(cache)
        again = cache_from_config(cache_to_config(cache))
        assert again == cache
        assert again.load(key).result == [3]
        assert again.gc() == set()  # type: ignore[attr-defined]
    assert caches[0] == caches[1]
    assert sorted(os.listdir(folder)) == sorted([name, "fleche.toml", "store"])


def saved(cache: Any) -> Any:
    from fleche.call import Call

    return cache.save(Call("f", {"x": 1}, result=[3]))


@pytest.mark.parametrize("name", STRANGE)
def test_a_path_of_a_database_may_have_any_name(project: Path, name: str) -> None:
    by_path = Sql(str(project / name / "calls.db"))
    assert Sql(by_path.url) == by_path
    (project / name / "fleche.toml").write_text(
        "[r]\nvalues.type = 'memory'\ncalls = { type = 'sql', url = 'sqlite:///calls.db' }\n"
    )
    os.chdir(project / name)
    assert load_cache_config("r").calls == by_path  # type: ignore[attr-defined]


def test_what_is_no_path_at_all(project: Path) -> None:
    for root in ("a\0b", Path("a\0b")):
        with pytest.raises(ValueError, match=r"values: .*NUL"):
            cache_from_config(pair({"root": root}, {"root": "calls"}))


def test_a_default_that_nobody_has_is_seen(
    project: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "fleche.toml").write_text(
        "[default]\ncache = 'reslts'\n[results]\ntemplate = 'pickle'\nroot = 'store'\n"
    )
    f = fleche(lambda x: x)
    assert f(1) == f(1) == 1
    [warning] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "Did you mean 'results'?" in warning
