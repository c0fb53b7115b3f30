"""Values as CBOR come back as they were, are refused by name, and run nothing when loaded."""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import gzip
import importlib.util
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.unit.test_exact_results as exact_results
import tests.unit.test_promise_results as promises
from fleche import cache, fleche
from fleche.caches import Cache
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from fleche.storage import CallMemory, SaveError, ValueCborFile, ValuePickleFile
from fleche.storage.cbor import dumps, fallback, loads, serializer

HERE = serializer(allow=["tests.*"])
ROOT = Path(__file__).resolve().parents[2]
PANDAS = (
    pd.core.base.PandasObject,
    pd.api.extensions.ExtensionArray,
    pd.api.extensions.ExtensionDtype,
)
LIBRARIES = (*PANDAS, pl.DataFrame, pl.Series, pa.lib._Weakrefable)


class View(promises.View):
    """As there; objects of libraries by their digests, in which no caches are seen."""

    def _content(self, value: Any) -> Any:
        if isinstance(value, LIBRARIES):
            return digest(value, typed=True)
        return super()._content(value)


def seen(value: Any) -> Any:
    return repr(View().of(value))


def held(value: Any) -> bytes | None:
    """The bytes of a value, if it can be held."""
    with contextlib.suppress(SaveError):
        return HERE.dumps(value)
    return None


def check(value: Any) -> None:
    """What CBOR gives of a value is what pickle gives of it, and it has the same bytes again."""
    data = held(value)
    if data is None:
        return
    back = HERE.loads(data)
    assert type(back) is type(value)
    if seen(back) != seen(value):
        assert seen(back) == seen(promises.pickled(value))
    assert HERE.dumps(back) == data


#: How many of each family of values are refused: what is of another class than those in the docs.
REFUSED = {"arrays": 18, "frames": 0, "tables": 17, "objects": 29, "shared": 62}


@pytest.mark.parametrize("family", promises.FAMILIES)
def test_results_of_all_families_come_back_as_with_pickle(family: str) -> None:
    values = promises.FAMILIES[family]
    for value in values:
        check(value)
        check([value, value])
        check({"a": (value, [value])})
    refused = [value for value in values if held(value) is None]
    assert len(refused) <= REFUSED[family], [type(value) for value in refused]


common = settings(deadline=None, max_examples=100)


@common
@given(values=st.one_of(exact_results.alike(), exact_results.any_values()))
def test_values_that_are_alike_come_back_each_as_it_was(values: list[Any]) -> None:
    for value in values:
        data = held(value)
        if data is not None:
            back = HERE.loads(data)
            assert exact_results.described(back) == exact_results.described(value)
            assert HERE.dumps(back) == data


leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.binary()),
    *(st.text(st.characters()), st.decimals(), st.fractions(), st.dates(), st.times()),
    *(st.datetimes(), st.timedeltas(), st.uuids()),
    st.integers(min_value=-(2**200), max_value=2**200),
)
# The signalling ones of the decimals have no hash.
keys = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.dates())
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
        st.sets(keys),
        st.frozensets(keys),
        st.tuples(inner, inner).map(lambda parts: promises.Pair(*parts)),
        st.tuples(inner, inner).map(lambda parts: promises.Coordinates(*parts)),
    ),
    max_leaves=20,
)


@common
@given(value=anything)
def test_any_data_has_the_same_typed_digest_again(value: Any) -> None:
    data = HERE.dumps(value)
    back = HERE.loads(data)
    assert type(back) is type(value)
    assert digest(back, typed=True) == digest(value, typed=True)
    assert HERE.dumps(back) == data
    assert seen(back) == seen(value)


def test_bytes_do_not_depend_on_the_process() -> None:
    program = (
        "from fleche.storage.cbor import dumps; "
        "print(dumps({frozenset({'a', 'b', ('c', 1)}): {'x', 'y', 'z', 2.5, None}}).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "f6"),
        (1.5, "f93e00"),
        (-0.0, "f98000"),
        (2**64, "c249010000000000000000"),
        (-(2**64) - 1, "c349010000000000000000"),
        ("\ud800", "d9011143eda080"),
        (2j, "d9a7f882f90000f94000"),
        ((1, "a"), "d9f1ec82016161"),
        ({3, 1}, "d90102820103"),
        (frozenset(), "d9f1ed80"),
        (bytearray(b"a"), "d9f1ee4161"),
        (Digest("abcd"), "d9f1ef6461626364"),
        ({"b": 1, "a": 2}, "a2616201616102"),
        (Fraction(1, 3), "d81e820103"),
        (datetime.date(2020, 1, 1), "d903ec6a" + b"2020-01-01".hex()),
        (np.array([1, 2], "u1"), "d840420102"),
        (np.array([[1], [2]], ">i2"), "d8288282020" + "1d8494400010002"),
        (np.array([True]), "d9f1f0856d" + b"numpy.ndarray".hex() + "637c6231614381014101"),
        (..., "d9f1f08168" + b"Ellipsis".hex()),
        (range(3), "d9f1f084" + "65" + b"range".hex() + "000301"),
    ],
)
def test_bytes_never_change(value: Any, expected: str) -> None:
    """A store that was written once is read for ever: docs/cbor.md has all of them."""
    assert dumps(value).hex() == "d9d9f7" + expected
    assert digest(loads(bytes.fromhex("d9d9f7" + expected)), typed=True) == digest(
        value, typed=True
    )


# What is one object stays one.


@dataclass
class Node:
    name: str
    next: Any = None


class Link(NamedTuple):
    to: Any


def test_what_refers_to_itself_comes_back_so() -> None:
    def made() -> Iterator[tuple[Any, Any]]:
        items: list[Any] = []
        items.append(items)
        yield items, lambda back: back[0]
        table: dict[str, Any] = {}
        table["a"] = [table]
        yield table, lambda back: back["a"][0]
        pair: tuple[list[Any], int] = ([], 1)
        pair[0].append(pair)
        yield pair, lambda back: back[0][0]
        link = Link([])
        link.to.append(link)
        yield link, lambda back: back.to[0]
        node = Node("a")
        node.next = {"b": node}
        yield node, lambda back: back.next["b"]
        cells = np.empty(1, object)
        cells[0] = [cells]
        yield cells, lambda back: back[0][0]
        waiting: collections.deque[Any] = collections.deque()
        waiting.append(waiting)
        yield waiting, lambda back: back[0]

    for value, inner in made():
        back = HERE.loads(HERE.dumps(value))
        assert type(back) is type(value)
        assert inner(back) is back


def test_temporary_objects_that_refer_to_themselves() -> None:
    def make() -> list[Any]:
        items: list[Any] = []
        items.append(items)
        return items

    back = loads(dumps(make()))
    assert back[0] is back


def test_what_is_there_twice_is_one_object() -> None:
    for one in ([1], "text " * 100, b"bytes" * 10_000, np.zeros(3), Node("a"), Link([])):
        back = HERE.loads(HERE.dumps({"a": one, "b": [one]}))
        assert back["a"] is back["b"][0]
    large = bytes(1 << 20)
    assert len(dumps([large] * 100)) < 2 << 20


def test_what_contains_itself_as_a_key_is_refused() -> None:
    node = Comparable(1)
    node.__dict__["value"] = {node: 1}
    back_or_error = held(node)
    assert back_or_error is None or HERE.loads(back_or_error)
    loop: list[Any] = []
    loop.append(frozenset([Holder(loop)]))
    assert held(loop) is None or HERE.loads(HERE.dumps(loop))


@dataclass(frozen=True)
class Comparable:
    value: Any


@dataclass(eq=False)
class Holder:
    value: Any


# What cannot be held.


class Plain:
    pass


@dataclass
class OwnState:
    a: Any = 0

    def __getstate__(self) -> Any:
        return {}


@dataclass
class Items(list):  # type: ignore[type-arg]
    a: Any = 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (threading.Lock(), "cannot hold the _thread.lock: "),
        ([1, {"a": threading.Lock()}], r"cannot hold the _thread.lock at value\[1\]\['a'\]: "),
        (Node("a", [len]), r"builtin_function_or_method at value.next\[0\]: "),
        (Plain(), "test_cbor.Plain: its class is no dataclass, attrs"),
        (OwnState(), "test_cbor.OwnState: its class says itself how it is pickled"),
        (Items(), "test_cbor.Items: it holds more than its fields"),
        ({Plain()}, "test_cbor.Plain at value<element>: "),
        (collections.defaultdict(lambda: 1), "default_factory is none of the built-in"),
        (pl.Series([object()]), r"polars.*objects"),
        (exact_results.Text("a"), "exact_results.Text: "),
        (np.zeros(2, [("a", object)]), "objects as parts"),
    ],
)
def test_what_cannot_be_held_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(SaveError, match=message):
        HERE.dumps(value)


def test_a_local_class_is_refused() -> None:
    @dataclass
    class Local:
        a: int

    with pytest.raises(SaveError, match="does not lead to it"):
        HERE.dumps(Local(1))


def test_classes_are_let_in_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("models_of_cbor")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("from dataclasses import dataclass\n@dataclass\nclass Model:\n    a: int", module.__dict__)
    made = module.Model(1)
    with pytest.raises(SaveError, match=r'is not let in: add "models_of_cbor.\*" to `allow`'):
        dumps([made])
    let_in = serializer(allow=["models_of_cbor.Model"])
    data = let_in.dumps([made])
    assert let_in.loads(data) == [made]
    with pytest.raises(ImportError, match=r"models_of_cbor\.Model is not let in"):
        serializer(allow=["other.*", "models_of_cbor.Models"]).loads(data)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(ImportError, match="import models_of_cbor first"):
        let_in.loads(data)


def test_classes_beside_cached_functions_are_let_in(tmp_path: Path) -> None:
    program = """
from dataclasses import dataclass
from fleche import cache, fleche
from fleche.config import cache_from_config

@dataclass
class Point:
    x: int

@fleche
def point(x):
    print("computed")
    return Point(x)

config = {"values": {"type": "cbor", "root": "values"}, "calls": {"type": "sql", "url": "sqlite:///c"}}
with cache(cache_from_config(config)):
    print(point(1) == Point(1), point.contains(1))
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert printed == [["computed", "True", "True"], ["True", "True"]]


# What loading does not do.


@dataclass
class Guarded:
    a: Any = 0
    b: Any = field(default=0, init=False)

    def __post_init__(self) -> None:
        ran.append("__post_init__")

    def __setattr__(self, name: str, value: Any) -> None:
        ran.append("__setattr__")
        super().__setattr__(name, value)

    def __new__(cls, *args: Any) -> Guarded:
        ran.append("__new__")
        return super().__new__(cls)

    @property
    def watched(self) -> int:
        return 0

    @watched.setter
    def watched(self, value: Any) -> None:
        ran.append("property")


@attrs.define
class Converted:
    a: Any = attrs.field(converter=lambda value: ran.append("converter") or value)


class Validated(pydantic.BaseModel):
    a: int

    @pydantic.field_validator("a", mode="before")
    @classmethod
    def look(cls, value: Any) -> Any:
        ran.append("validator")
        return value


class Tone(enum.Enum):
    LOW = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ran.append("_missing_")


ran: list[str] = []


def test_loading_runs_nothing_of_a_class() -> None:
    values = [Guarded(1), Converted(2), Validated(a=3), Tone.LOW]
    data = HERE.dumps(values)
    ran.clear()
    assert HERE.loads(data) == values
    assert ran == []
    name = f"{__name__}:Guarded"
    wanted = bytes([0x78, len(name)]) + name.encode()
    forged = HERE.dumps(Guarded(1)).replace(b"\x61a", b"\x67watched")
    assert wanted in forged
    ran.clear()
    assert HERE.loads(forged).watched == 0
    assert ran == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dataclass", "os:system"),
        ("dataclass", "subprocess:Popen"),
        ("enum", "builtins:eval"),
        ("dataclass", "json.tool:main"),
        ("dataclass", "this:s"),
        ("namedtuple", "dataclasses:dataclass"),
        ("dataclass", f"{__name__}:Plain"),
        ("dataclass", f"{__name__}:HERE"),
        ("dataclass", f"{__name__}:Node.__class__"),
        ("dataclass", f"{__name__}:dataclass"),
        ("pydantic", f"{__name__}:Node"),
        ("dataclass", "no colon"),
    ],
)
def test_names_of_anything_else_are_refused(kind: str, name: str) -> None:
    before = set(sys.modules)
    data = HERE.dumps(Node("a"))
    written = f"{__name__}:Node".encode()
    forged = data.replace(b"\x69dataclass", _text(kind)).replace(
        _text(written.decode()), _text(name)
    )
    for reader in (HERE, serializer(allow=["*"])):
        with pytest.raises((ImportError, ValueError)):
            reader.loads(forged)
    assert set(sys.modules) == before


def _text(text: str) -> bytes:
    return dumps(text)[3:]


def test_a_name_that_another_module_imported_is_not_the_class() -> None:
    forged = HERE.dumps(promises.Pair(1)).replace(
        _text("tests.unit.test_promise_results:Pair"), _text(f"{__name__}:Node")
    )
    assert type(HERE.loads(forged)) is Node
    forged = HERE.dumps(Node("a")).replace(
        _text(f"{__name__}:Node"), _text(f"{__name__}:ValueCborFile")
    )
    with pytest.raises(ImportError, match="is the name of another class"):
        HERE.loads(forged)


def test_pickles_in_the_store_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return ran.append, ("bomb",)

    ran.clear()
    key = digest("anything")
    storage = ValueCborFile(tmp_path)
    for data in (
        pickle.dumps(Bomb()),
        pickle.dumps(Bomb(), 0),
        gzip.compress(pickle.dumps(Bomb())),
    ):
        (tmp_path / key).write_bytes(data)
        with pytest.raises(KeyError, match="no CBOR"):
            storage.load(key)
    signed = serializer(fallback="pickle", secret_key=b"other").dumps(Bomb())
    for reader in (storage, ValueCborFile(tmp_path, fallback="pickle", secret_key=b"key")):
        (tmp_path / key).write_bytes(signed)
        with pytest.raises(KeyError):
            reader.load(key)
    with pytest.raises(Exception, match="signature"):
        serializer(fallback="pickle", secret_key=b"key").loads(signed)
    assert ran == []


# What CBOR cannot hold, pickled.


def test_fallback_needs_a_secret_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLECHE_SECRET_KEY", raising=False)
    with pytest.raises(ValueError, match="fallback = 'pickle' needs a secret key"):
        ValueCborFile(tmp_path, fallback="pickle")
    with pytest.raises(ValueError, match="fallback must be 'pickle'"):
        ValueCborFile(tmp_path, fallback="dill", secret_key=b"key")


def test_what_is_pickled_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = ValueCborFile(tmp_path, fallback="pickle", secret_key=b"key")
    before = fallback.pickled().get("collections.ChainMap", 0)
    with caplog.at_level(logging.WARNING, logger="fleche.storage"):
        keys = [
            storage.save(collections.ChainMap({"a": number}), digest(number)) for number in (1, 2)
        ]
    assert [storage.load(key) for key in keys] == [
        collections.ChainMap({"a": 1}),
        collections.ChainMap({"a": 2}),
    ]
    assert fallback.pickled()["collections.ChainMap"] == before + 2
    assert caplog.text.count("collections.ChainMap") == (1 if before == 0 else 0)
    assert storage.load(storage.save([1], digest([1]))) == [1]


# In a store.


@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize("form", [{}, {"compress": True}, {"secret_key": b"key"}], ids=str)
def test_values_in_files(tmp_path: Path, depth: int, form: dict[str, Any]) -> None:
    storage = ValueCborFile(tmp_path, remaining_depth=depth, allow=["tests.*"], **form)
    values = [
        [promises.Pair(["a" * 300, 1], {"k": ("b" * 300, None)}), {"c": ["d" * 300]}],
        promises.Defined("e" * 300),
        (digest("a"), [str(digest("b"))]),
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        np.arange(100_000.0),
    ]
    with cache(Cache(storage, CallMemory({}))):
        for number in range(len(values)):
            returned[:] = [values[number]]
            give(number, depth)
            returned[:] = []
            assert seen(give(number, depth)) == seen(values[number])
    files = [path.read_bytes() for path in tmp_path.iterdir() if len(path.name) == 64]
    start = b"\x1f\x8b" if "compress" in form else b"\xd9\xd9\xf7"
    assert files
    assert all(data.startswith(start) for data in files)


returned: list[Any] = []


@fleche
def give(number: int, depth: int) -> Any:
    return returned[0]


def test_one_bad_entry_costs_itself_alone(tmp_path: Path) -> None:
    storage = ValueCborFile(tmp_path)
    key = storage.save([1, 2])
    (tmp_path / key).write_bytes((tmp_path / key).read_bytes()[:-1])
    with pytest.raises(KeyError, match="ends at byte"):
        storage.load(key)


def test_configuration(tmp_path: Path) -> None:
    config = {
        "type": "cbor",
        "root": str(tmp_path),
        "allow": ["tests.*"],
        "fallback": "pickle",
        "secret_key": ["6b6579"],
        "compress": True,
        "remaining_depth": 1,
    }
    made = cache_from_config({"values": config, "calls": {"type": "memory"}})
    values = made.values
    assert type(values) is ValueCborFile
    assert values.to_config() == {**config, "lock_timeout": 1.0}
    assert pickle.loads(pickle.dumps(values)) == values
    for wrong in ({"allow": "tests.*"}, {"fallback": "dill"}, {"allowed": []}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cache_from_config({"values": config | wrong, "calls": {"type": "memory"}})


# Bytes of others.


def entries() -> list[bytes]:
    values = [value for family in promises.FAMILIES.values() for value in family]
    return [data for value in values[::7] if (data := held(value)) is not None and len(data) < 5000]


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(3, len(changed))
        match chance.randrange(4):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case _:
                changed[at:at] = chance.randbytes(chance.randrange(1, 5))
        if len(changed) < 5:
            break
    return bytes(changed)


def test_no_bytes_do_any_harm() -> None:
    """`FLECHE_FUZZ` says how many are tried."""
    count = int(os.environ.get("FLECHE_FUZZ", "4000"))
    chance = random.Random(int(os.environ.get("FLECHE_SEED", "1")))
    samples = entries()
    for data in samples:
        HERE.loads(data)
    before = set(sys.modules)
    ran.clear()
    for _ in range(count):
        data = mutated(chance, chance.choice(samples))
        try:
            HERE.loads(data)
        except (ValueError, ImportError):
            pass
        except Exception as error:
            pytest.fail(f"{data.hex()} raises {error!r}")
    assert ran == []
    # Of ours, of the libraries and of Python itself something may be imported late, none by name.
    known = {"fleche", "numpy", "pandas", "polars", "pyarrow", "tzdata", *sys.stdlib_module_names}
    new = {name for name in set(sys.modules) - before if name.split(".")[0] not in known}
    assert new == set()


def test_depth_has_a_limit() -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    assert loads(dumps(value)) == value
    for _ in range(900):
        value = [value]
    with pytest.raises(SaveError, match="nested more than 1000 levels deep"):
        dumps(value)
    for nested in (b"\x81" * 100_000, b"\xd9\xf1\xec\x81" * 100_000, b"\xd8\x1c" * 100_000):
        with pytest.raises(ValueError, match=r"levels deep|marks"):
            loads(b"\xd9\xd9\xf7" + nested + b"\x00")


@pytest.mark.parametrize(
    "claim", ["9bffffffffffffffff", "bb00ffffffffffffff", "5b00ffffffffffff", "9a00ffffff"]
)
def test_lengths_are_compared_with_what_is_left(claim: str) -> None:
    for nested in (0, 900):
        with pytest.raises(ValueError, match="in the middle of a value"):
            loads(b"\xd9\xd9\xf7" + b"\x81" * nested + bytes.fromhex(claim))


# Others read it.


@pytest.fixture
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_cbor", ROOT / "docs" / "read_cbor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", [{}, {"compress": True}, {"secret_key": b"key"}], ids=str)
def test_the_reader_of_the_docs_reads_a_store(
    tmp_path: Path, reader: ModuleType, form: dict[str, Any]
) -> None:
    assert len((ROOT / "docs" / "read_cbor.py").read_text().splitlines()) <= 150
    storage = ValueCborFile(tmp_path, allow=["tests.*"], **form)
    secret = form.get("secret_key", b"")
    plain = [1, {"a": (2.5, "b" * 300), "c": {1, 2}}, [["d" * 300], None], 2**100, b"e", {"f": 1}]
    key = storage.save(plain)
    assert reader.read(tmp_path, key, secret) == plain
    table = np.arange(6).reshape(2, 3)
    for array in (table, table.T, table[0], table.astype(">f4")):
        assert reader.read(tmp_path, storage.save(array), secret) == array.tolist()
    key = storage.save(Node("a" * 300, [1]))
    assert reader.read(tmp_path, key, secret)["next"] == [1]
    values = [value for family in promises.FAMILIES.values() for value in family[::5]]
    read = 0
    for value in values:
        if (data := held(value)) is not None and not _loops(value):
            reader.entry(data)
            read += 1
    assert read > 100


def _loops(value: Any) -> bool:
    """Whether it refers to itself, which `cbor2` reads of lists and maps only."""
    try:
        json.dumps(value, default=vars)
    except ValueError as error:
        return "Circular" in str(error)
    except (TypeError, RecursionError):
        return isinstance(value, promises.Pair)
    return False


def test_other_storages_take_it_for_no_pickle(tmp_path: Path) -> None:
    key = ValueCborFile(tmp_path).save([1])
    with pytest.raises(KeyError):
        ValuePickleFile(tmp_path).load(key)


@dataclass
class Cached:
    a: int

    @cached_property
    def twice(self) -> int:
        return 2 * self.a


def test_more_than_fields() -> None:
    made = Cached(2)
    assert made.twice == 4
    back = HERE.loads(HERE.dumps(made))
    assert vars(back) == {"a": 2, "twice": 4}
    assert type(back) is Cached
    assert loads(dumps(Digest("abcd"))) == Digest("abcd")


@pytest.mark.parametrize("word", ["plain", "na\u00efve", ""])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_large_columns_of_texts(word: str, kind: Any) -> None:
    texts = [None if place % 7 == 0 else f"{word}{place}" for place in range(20_000)]
    column = pa.array(texts, kind)
    for value in (column, column[3:-5], pa.chunked_array([column[:9], column[9:]])):
        back = loads(dumps(value))
        assert back.equals(value)
        back.validate(full=True)


@pytest.mark.parametrize("word", ["plain", "na\u00efve"])
def test_damaged_columns_of_texts_are_refused(word: str) -> None:
    column = pa.array([f"{word}{place:05}" for place in range(10_000)], pa.large_string())
    data = dumps(column)
    step = len(f"{word}00000".encode())
    offset = (5_000 * step).to_bytes(8, "little")
    for worse in (0, 5_001 * step + 1, 1 << 40, (1 << 64) - 1):
        damaged = data.replace(offset, worse.to_bytes(8, "little"), 1)
        assert damaged != data
        with pytest.raises(ValueError, match=r"."):
            loads(damaged)
    with pytest.raises(ValueError, match=r"."):
        loads(data.replace(f"{word}05000".encode(), b"\xff" * step, 1))


def test_attributes_have_the_names_of_the_class() -> None:
    """One object for a name, as with pickle: looking it up compares no letters."""
    for value in (promises.Pair(1, 2), promises.Coordinates(1, 2)):
        back = HERE.loads(HERE.dumps([value, value, type(value)(3, 4)]))
        assert back[0] is back[1]
        assert back[2] == type(value)(3, 4)
    (name,) = vars(HERE.loads(HERE.dumps(Tagged(1))))
    assert name is sys.intern("tagged_with")


@dataclass
class Tagged:
    tagged_with: int
