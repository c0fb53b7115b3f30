"""Calls that were recorded before a refactoring: `was=`, `added=`, `renamed=`, `fleche.rename`."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, fleche, rename
from fleche.caches import BaseCache, CacheStack, Rejected
from fleche.config import cache_from_config


def defined(source: str, module: str, **options: Any) -> Any:
    """The decorated function that a module of this name defines."""
    names = vars(types.ModuleType(module))
    names.update(fleche=fleche, options=options, runs=[])
    exec(f"@fleche(hash_code=False, **options)\n{source}", names)
    (name,) = (n for n in names if callable(names[n]) and hasattr(names[n], "fleche"))
    names[name].runs = names["runs"]
    return names[name]


OLD = "def relax(a, n=5):\n    runs.append((a, n))\n    return [a, n]"
NEW = """def minimise(a, steps=5, tolerance=0.1):
    runs.append((a, steps))
    return [a, steps, 0]"""


def test_calls_of_before_are_found(store: BaseCache) -> None:
    old = defined(OLD, "lab.old")
    old("Cu")
    old("Cu", n=7)
    new = defined(
        NEW,
        "lab.new.steps",
        was="lab.old.relax",
        added={"tolerance": 0.1},
        renamed={"n": "steps"},
    )
    # To ask writes nothing.
    assert new.contains("Cu")
    assert new.query().count() == 0
    assert new.load("Cu") == ["Cu", 5]
    assert new("Cu", steps=7) == ["Cu", 7]
    assert new.runs == []
    # Filed anew: found without them, with the times of the run.
    plain = defined(NEW, "lab.new.steps")
    assert plain("Cu") == ["Cu", 5]
    assert plain.query(steps=7).only().metadata["runtime"]["walltime"] >= 0
    assert plain.query().count() == 2
    # Who has not been refactored yet goes on.
    assert old("Cu") == ["Cu", 5]
    assert old.runs == [("Cu", 5), ("Cu", 7)]
    # Another value of what is new is another call.
    assert new("Cu", tolerance=0.2) == ["Cu", 5, 0]
    assert new("Al") == ["Al", 5, 0]
    assert new.runs == [("Cu", 5), ("Al", 5)]


@pytest.mark.parametrize("was", ["lab.old.Old.relax", ("gone.f", "lab.old.Old.relax")])
def test_names_within_classes(store: BaseCache, was: Any) -> None:
    source = "class Old:\n    @staticmethod\n    @fleche(hash_code=False)\n    def relax(a):\n"
    source += "        return a + 1"
    names: dict[str, Any] = {"fleche": fleche, "__name__": "lab.old"}
    exec(source, names)
    assert names["Old"].relax(1) == 2
    new = defined("def relax(a):\n    runs.append(a)\n    return 0", "lab.new", was=was)
    assert new(1) == 2
    assert new.runs == []


def test_a_name_in_the_same_module(store: BaseCache) -> None:
    defined("def before(a):\n    return 'before'", "lab")(1)
    after = defined("def after(a):\n    return 'after'", "lab", was="before")
    assert after(1) == "before"
    without = defined("def after(a):\n    return 'without'", "x", was="m.f", hash_module=False)
    defined("def f(a):\n    return 'f'", "m", hash_module=False)(1)
    assert without(1) == "f"


def test_only_parameters_changed(store: BaseCache) -> None:
    defined("def f(a, b):\n    return ['old', a, b]", "lab")(1, 2)
    new = defined(
        "def f(a, width, c=42):\n    runs.append(a)\n    return ['new', a, width, c]",
        "lab",
        added={"c": 42},
        renamed={"b": "width"},
    )
    assert new(1, 2) == ["old", 1, 2]
    assert new(1, 2, c=42.0) == ["old", 1, 2]
    assert new(1, 2, 43) == ["new", 1, 2, 43]
    assert new.runs == [1]


def test_schemes_coroutines_and_expiry(tmp_path: Path) -> None:
    before = _core.scheme()
    try:
        for scheme in ("exact", "sha256"):
            _core.set_scheme(scheme)
            with cache(cache_from_config({"template": "pickle", "root": tmp_path / scheme})):
                defined(OLD, "lab.old")("Cu")
                options = {"was": "lab.old.relax", "max_age": 3600}
                assert defined(OLD, "lab.new", **options)("Cu") == ["Cu", 5]
                source = "async def relax(a, n=5):\n    runs.append(a)\n    return 0"
                new = defined(source, "lab.newer", was="lab.old.relax")
                assert asyncio.run(new("Cu")) == ["Cu", 5]
                assert new.runs == []
                expired = defined(OLD, "lab.newest", was="lab.old.relax", max_age=0)
                assert not expired.contains("Cu")
                assert expired("Cu") == ["Cu", 5]
                assert expired.runs == [("Cu", 5)]
    finally:
        _core.set_scheme(before)


def test_read_only(tmp_path: Path) -> None:
    store = cache_from_config({"template": "pickle", "root": tmp_path})
    with cache(store):
        defined(OLD, "lab.old")("Cu")
    with cache(store.readonly()):
        new = defined(OLD, "lab.new", was="lab.old.relax")
        assert new("Cu") == ["Cu", 5]
        assert new.runs == []
        with pytest.raises(Rejected):
            rename("lab.old.relax", new)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"added": {"x": 1}}, "added: .* has no parameter 'x'; it has a, n"),
        ({"renamed": {"n": "steps"}}, r"has no parameter 'steps'.*write \{\"old\": \"new\"\}"),
        ({"renamed": {"m": "n"}, "added": {"n": 1}}, "'n' cannot be both"),
        ({"renamed": {"m": "n", "k": "n"}}, "two parameters became one"),
    ],
)
def test_slips(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        defined(OLD, "lab", **options)


def test_rename(store: BaseCache, caplog: pytest.LogCaptureFixture) -> None:
    old = defined(OLD, "lab.old")
    for n in range(5):
        old("Cu", n=n)
    if isinstance(store, CacheStack):
        # In every member.
        store.stack[0].transfer(store.stack[1])
    new = defined(NEW, "lab.new")
    options: dict[str, Any] = {"added": {"tolerance": 0.1}, "renamed": {"n": "steps"}}
    count = rename("lab.old.relax", new, **options)
    assert count == (10 if isinstance(store, CacheStack) else 5)
    assert rename("lab.old.relax", new, **options) == 0
    assert old.query().count() == 0
    for n in range(5):
        assert new("Cu", steps=n) == ["Cu", n]
    assert new.runs == []
    assert new.query(tolerance=0.1).count() == 5
    # By name alone, as far as its parameters stay.
    assert rename("lab.new.minimise", "lab.newest.minimise", cache=store) in (5, 10)
    newest = defined(NEW, "lab.newest")
    assert newest("Cu", steps=1) == ["Cu", 1]
    assert newest.runs == []
    # What does not fit stays.
    other = defined("def other(x):\n    return x", "lab")
    assert rename("lab.newest.minimise", other) == 0
    assert "stays as it is: it has the arguments a, steps, tolerance, other has x" in caplog.text
    assert newest.query().count() == 5


def test_parameters_in_another_order(store: BaseCache) -> None:
    defined(OLD, "lab")("Cu", 7)
    new = defined("def relax(n, a):\n    runs.append(a)\n    return 0", "lab.new")
    assert rename("lab.relax", new) in (1, 2)
    assert new(7, "Cu") == ["Cu", 7]
    assert new.runs == []
