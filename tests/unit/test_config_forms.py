"""`fleche.config`: from dicts and lists to storages and caches, and back."""

from __future__ import annotations

import copy
import json
import pickle
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import config
from fleche.caches import (
    Cache,
    CacheStack,
    ReadOnlyCache,
    RefreshingCache,
    SizeLimitedCache,
)
from fleche.config import (
    _asdict_init_only,
    cache_from_config,
    cache_to_config,
    storage_from_config,
    storage_to_config,
)
from fleche.config.keys import STORAGES, TEMPLATES
from fleche.storage import CallMemory, CallVoid, ValueMemory, ValueMixin, ValueVoid
from fleche.storage.base import _STORAGE_CLASSES, _STORAGE_CONSTRUCTORS, register_storage
from fleche.storage.pickle_file import _SERIALIZERS, ValuePickleFile, register_serializer

MEMORY = {"values": {"type": "memory"}, "calls": {"type": "memory"}}


@pytest.fixture
def registry() -> Iterator[None]:
    """Storages registered in the test are forgotten after it."""
    kept = dict(_STORAGE_CONSTRUCTORS), set(_STORAGE_CLASSES), dict(_SERIALIZERS)
    yield
    for now, before in zip(
        (_STORAGE_CONSTRUCTORS, _STORAGE_CLASSES, _SERIALIZERS), kept, strict=True
    ):
        now.clear()  # type: ignore[attr-defined]
        now.update(before)  # type: ignore[attr-defined]


class TestTemplates:
    def test_memory(self) -> None:
        assert cache_from_config({"template": "memory"}) == cache_from_config(MEMORY)

    @pytest.mark.parametrize("name", ["pickle", "cloudpickle", "dill"])
    def test_files(self, tmp_path: Path, name: str) -> None:
        expected = {
            part: {"type": name, "root": str(tmp_path / part)} for part in ("values", "calls")
        }
        given = {"template": name, "root": str(tmp_path)}
        assert cache_from_config(given) == cache_from_config(expected)
        assert cache_from_config({**given, "root": tmp_path}) == cache_from_config(expected)

    def test_limits_combine(self) -> None:
        cache = cache_from_config({"template": "memory", "max_size": 3, "read_only": True})
        assert cache == ReadOnlyCache(SizeLimitedCache(ValueMemory({}), CallMemory({}), 3))

    @pytest.mark.parametrize(
        ("arguments", "values", "url"),
        [
            ({}, {"type": "bagofholding_hdf", "root": "/r/values"}, "sqlite:////r/calls.db"),
            ({"values": "pickle"}, {"type": "pickle", "root": "/r/values"}, None),
            ({"values": "memory", "url": "q.db"}, {"type": "memory"}, "q.db"),
        ],
    )
    def test_sql(
        self,
        monkeypatch: pytest.MonkeyPatch,
        arguments: dict[str, str],
        values: dict[str, str],
        url: str | None,
    ) -> None:
        seen = []

        def storage(d: dict[str, Any], type: str) -> Any:
            seen.append((type, d))
            return ValueVoid() if type == "value" else CallVoid()

        monkeypatch.setattr(config, "storage_from_config", storage)
        cache_from_config({"template": "sql", "root": "/r", **arguments})
        calls = {"type": "sql", "url": url or "sqlite:////r/calls.db"}
        assert seen == [("value", values), ("call", calls)]

    def test_cbor(self, tmp_path: Path) -> None:
        root = str(tmp_path)
        for more in ({}, {"allow": ["a.*"], "fallback": "pickle", "secret_key": "ab" * 32}):
            values = {"type": "cbor", "root": f"{root}/values", **more}
            calls = {"type": "sql", "url": f"sqlite:///{root}/calls.db"}
            made = cache_from_config({"template": "cbor", "root": root, **more})
            assert made == cache_from_config({"values": values, "calls": calls})
        with pytest.raises(ValueError, match="fallback = 'pickle' needs a secret key"):
            cache_from_config({"template": "cbor", "root": root, "fallback": "pickle"})

    def test_unknown(self) -> None:
        with pytest.raises(
            ValueError, match=r"^Unknown cache template 'pickles'; choose from"
        ) as e:
            cache_from_config({"template": "pickles"})
        assert all(repr(name) in str(e.value) for name in TEMPLATES)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"template": "pickle"},
            {"template": "pickle", "root": 3},
            {"template": "pickle", "root": "/r", "compress": True},
            {"template": "memory", "root": "/r"},
            {"template": "memory", "values": {"type": "memory"}},
            {"template": "sql", "url": "q.db"},
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, Any]) -> None:
        name = arguments["template"]
        with pytest.raises(ValueError, match=f"^Invalid arguments for cache template '{name}': "):
            cache_from_config(arguments)


def pair(values: Any = None, calls: Any = None, **more: Any) -> dict[str, Any]:
    memory = {"type": "memory"}
    return {"values": values or memory, "calls": calls or memory, **more}


PICKLE = {"type": "pickle", "root": "/r"}
MISTAKES: list[tuple[Any, str]] = [
    (3, "expected a cache's table or a list of them, not a int"),
    ("memory", "expected a cache's table or a list of them, not a str"),
    ({}, "missing key 'values' for a cache"),
    ({"values": {"type": "memory"}}, "missing key 'calls' for a cache"),
    ({**MEMORY, "maxsize": 3}, "unknown key 'maxsize' for a cache. Did you mean 'max_size'?"),
    ({**MEMORY, "qqq": 3}, "unknown key 'qqq' for a cache. Valid are 'calls', 'evict',"),
    (pair(max_size="3"), "key 'max_size' of a cache must be an integer of at least 1, not"),
    (pair(max_size=True), "key 'max_size' of a cache must be"),
    (pair(max_size=0), "key 'max_size' of a cache must be an integer of at least 1"),
    (pair(read_only="yes"), "key 'read_only' of a cache must be true or false, not this str"),
    (pair(values="memory"), "key 'values' of a cache must be a table with a 'type', not this str"),
    ({"type": "memory"}, "unknown cache type 'memory': only 'ssh' is one"),
    (pair({"root": "/r"}), "values: missing key 'type' for a value storage"),
    (pair({"type": "nope"}), "values: Unknown storage type 'nope' for value storage!"),
    (pair({"type": "Pickle"}), "Did you mean 'pickle'?"),
    (pair({"type": ["pickle"]}), "values: Unknown storage type ['pickle'] for value storage!"),
    (pair({"type": "sql", "url": "x"}), "values: Unknown storage type 'sql' for value storage! It"),
    (pair({"type": "pickle"}), "values: missing key 'root' for value storage type 'pickle'"),
    (pair(calls={"type": "dill"}), "calls: missing key 'root' for call storage type 'dill'"),
    (pair({**PICKLE, "rot": 1}), "unknown key 'rot' for value storage type 'pickle'. Did you mean"),
    (pair(calls={**PICKLE, "remaining_depth": 1}), "calls: unknown key 'remaining_depth' for call"),
    (pair({"type": "void", "x": 1}), "unknown key 'x' for value storage type 'void'. It takes"),
    (pair({**PICKLE, "root": 1}), "key 'root' of value storage type 'pickle' must be the path of"),
    (pair({**PICKLE, "compress": 1}), "key 'compress' of value storage type 'pickle' must be true"),
    (pair({**PICKLE, "lock_timeout": "1"}), "key 'lock_timeout' of value storage type 'pickle'"),
    (pair({**PICKLE, "secret_key": 7}), "must be a list of hex strings, not this int"),
    (pair({**PICKLE, "remaining_depth": 1.5}), "key 'remaining_depth' of value storage type"),
    (pair(calls={"type": "sql", "url": 1}), "calls: "),
    ([MEMORY, {**MEMORY, "x": 1}], "entry 2: unknown key 'x' for a cache"),
    ([MEMORY, pair({"type": "x"})], "entry 2: values: Unknown storage type 'x'"),
    ([MEMORY, [MEMORY]], "nested"),
    ({"pool": MEMORY}, "key 'pool' of a cache pool must be a list of caches, not this dict"),
    ({"pool": [MEMORY], "read_only": True}, "unknown key 'read_only' for a cache pool"),
    ({"pool": [MEMORY, {}]}, "pool: entry 2: missing key 'values'"),
    ({"type": "ssh"}, "missing key 'host' for cache type 'ssh'"),
    ({"type": "ssh", "host": "h", "cachename": "x"}, "Did you mean 'cache_name'?"),
    (
        {"type": "ssh", "host": "h", "ssh_options": "-v"},
        "'ssh_options' of cache type 'ssh' must be",
    ),
]


class TestMistakes:
    @pytest.mark.parametrize(("wrong", "said"), MISTAKES)
    def test_named_in_a_value_error(self, wrong: Any, said: str) -> None:
        before = copy.deepcopy(wrong)
        with pytest.raises(ValueError, match=re.escape(said)):
            cache_from_config(wrong)
        assert wrong == before

    def test_bad_hex_names_the_storage_and_no_key(self) -> None:
        with pytest.raises(ValueError, match="values: ") as caught:
            cache_from_config(pair({**PICKLE, "secret_key": ["c0ffee", "zz"]}))
        assert "c0ffee" not in str(caught.value)

    def test_other_kinds_of_storage(self) -> None:
        with pytest.raises(ValueError, match="'value' or 'call', not for 'values'"):
            storage_from_config({"type": "memory"}, "values")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="expected a table with a 'type', not a str"):
            storage_from_config("memory", "value")  # type: ignore[call-overload]


hex_keys = st.binary(min_size=1, max_size=8).map(bytes.hex)
pickle_keys = {
    "compress": st.booleans(),
    "lock_timeout": st.floats(0, 100),
    "secret_key": st.lists(hex_keys, min_size=1, max_size=3),
}
depth = {"remaining_depth": st.integers(0, 5)}


def storages(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    common = {"root": st.sampled_from([f"/r/{kind}/a", f"/r/{kind}/b", f"/{kind} in $$"])}
    deep = depth if kind == "value" else {}
    files = st.sampled_from(["pickle", "cloudpickle", "dill"])
    return st.one_of(
        st.fixed_dictionaries({"type": st.just("memory")}, optional=deep),
        st.just({"type": "void"}),
        st.fixed_dictionaries({"type": files, **common}, optional={**pickle_keys, **deep}),
    )


plain = st.fixed_dictionaries(
    {"values": storages("value"), "calls": storages("call")},
    optional={"max_size": st.integers(1, 9), "read_only": st.booleans()},
)
pools: st.SearchStrategy[Any] = st.deferred(
    lambda: st.fixed_dictionaries(
        {"pool": st.lists(st.one_of(plain, stacks, pools), min_size=1, max_size=3)}
    )
)
stacks = st.lists(st.one_of(plain, pools), min_size=1, max_size=3)
configs = st.one_of(plain, pools, stacks)


@pytest.fixture(scope="class")
def no_environment_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FLECHE_SECRET_KEY", raising=False)
        yield


@pytest.mark.usefixtures("no_environment_key")
class TestRoundTrip:
    @given(configs)
    def test_cache_to_config_is_the_inverse(self, given: Any) -> None:
        before = copy.deepcopy(given)
        cache = cache_from_config(given)
        assert given == before
        written = cache_to_config(cache)
        again = cache_from_config(written)
        assert again == cache
        assert cache_to_config(again) == written
        assert json.loads(json.dumps(written)) == written
        assert nothing_is_lost(given, written)

    @pytest.mark.parametrize(
        ("kind", "name"),
        [(kind, name) for kind, names in STORAGES.items() for name in names if name != "sql"],
    )
    def test_every_storage(self, tmp_path: Path, kind: Any, name: str) -> None:
        given = {"type": name}
        if "root" in STORAGES[kind][name]:
            given["root"] = str(tmp_path)
        if "url" in STORAGES[kind][name]:
            database = f"sqlite:///{tmp_path}/cache.db"
            given["url"] = tmp_path.as_uri() if name == "bucket" else database
        storage = storage_from_config(given, kind)
        written = storage_to_config(storage)
        assert storage_from_config(written, kind) == storage
        assert given.items() <= written.items()
        assert written.keys() - {"type"} <= STORAGES[kind][name].keys()

    def test_secret_keys_as_hex(self) -> None:
        given = {"type": "pickle", "root": "/r", "secret_key": ["c0ff", "ee"]}
        storage = storage_from_config(given, "call")
        assert storage_to_config(storage)["secret_key"] == ["c0ff", "ee"]

    def test_a_limit_that_no_config_may_have(self) -> None:
        with pytest.raises(ValueError, match=r"Cannot convert.*'max_size' of a cache must be"):
            cache_to_config(SizeLimitedCache(ValueMemory({}), CallMemory({}), max_size=0))

    @pytest.mark.parametrize(
        "cache",
        [
            RefreshingCache(cache_from_config(MEMORY)),
            ReadOnlyCache(cache_from_config([MEMORY])),
            ReadOnlyCache(ReadOnlyCache(cache_from_config(MEMORY))),
            CacheStack((RefreshingCache(cache_from_config(MEMORY)),)),
            3,
        ],
        ids=lambda cache: type(cache).__name__,
    )
    def test_what_has_no_form_is_named(self, cache: Any) -> None:
        name = type(cache.stack[0] if isinstance(cache, CacheStack) else cache).__name__
        with pytest.raises(ValueError, match=name):
            cache_to_config(cache)


def nothing_is_lost(given: Any, written: Any) -> bool:
    """Whether every key that was given is there again; `read_only = false` is its absence."""
    if isinstance(given, list):
        return all(map(nothing_is_lost, given, written))
    if isinstance(given, dict):
        return all(
            nothing_is_lost(value, written[key])
            for key, value in given.items()
            if not (key == "read_only" and value is False)
        )
    return bool(given == written)


@pytest.mark.usefixtures("registry")
class TestOwnStorages:
    def test_registered_with_to_config(self) -> None:
        @register_storage("mine", "value")
        @dataclass(frozen=True)
        class Mine(ValueVoid):
            size: int = 1

            def to_config(self) -> dict[str, Any]:
                return {"type": "mine", "size": self.size}

        storage = storage_from_config({"type": "mine", "size": 4}, "value")
        assert storage == Mine(4)
        assert storage_to_config(storage) == {"type": "mine", "size": 4}
        cache = Cache(storage, CallMemory({}))
        assert cache_from_config(cache_to_config(cache)) == cache

    def test_registered_without_one(self) -> None:
        @register_storage("mine", "value")
        @dataclass
        class Mine(ValueMixin):
            folder: Path
            names: tuple[str, ...] = ()
            handle: object = field(init=False, default=None)

            def put(self, value: Any, key: Any) -> Any:
                return key

            def get(self, key: Any) -> Any:
                raise KeyError(key)

            def _evict(self, key: Any) -> None:
                pass

            def list(self) -> Any:
                return ()

        written = storage_to_config(Mine(Path("/r"), ("a",)))
        assert written == {"type": "mine", "folder": "/r", "names": ["a"]}

    def test_wrong_arguments(self) -> None:
        @register_storage("mine", "value")
        class Mine(ValueVoid):
            def __init__(self, size: int) -> None: ...

        for wrong in ({}, {"size": 1, "x": 1}):
            with pytest.raises(ValueError, match=r"value storage type 'mine': .*argument"):
                storage_from_config({"type": "mine", **wrong}, "value")

    def test_suggested_for_a_near_name(self) -> None:
        register_storage("postgres_values", "value")(ValueVoid)
        with pytest.raises(ValueError, match="Did you mean 'postgres_values'"):
            storage_from_config({"type": "postgres_value"}, "value")

    def test_an_own_class_takes_a_built_in_name(self) -> None:
        register_storage("memory", "value", factory=lambda **keys: keys)(ValueVoid)
        storage: Any = storage_from_config({"type": "memory", "own": 1}, "value")
        assert storage == {"own": 1}

    def test_a_serializer_that_is_no_type(self, tmp_path: Path) -> None:
        register_serializer("raw", lambda: (pickle.dumps, pickle.loads))
        storage = ValuePickleFile.with_serializer("raw", tmp_path)
        with pytest.raises(ValueError, match="no storage is registered as 'raw'"):
            storage_to_config(storage)
        register_storage("raw", "value", factory=partial(ValuePickleFile.with_serializer, "raw"))(
            ValuePickleFile
        )
        assert storage_from_config(storage_to_config(storage), "value") == storage

    def test_unregistered(self) -> None:
        class Sub(ValueMemory):
            pass

        with pytest.raises(ValueError, match="Cannot convert storage of type 'Sub' to config"):
            storage_to_config(Sub({}))


def test_asdict_init_only() -> None:
    @dataclass
    class Inner:
        x: list[int]
        lock: object = field(init=False, default_factory=threading.Lock)

    @dataclass
    class Outer:
        inner: Inner
        many: tuple[Inner, ...]
        by_name: dict[str, Inner]

    made = Outer(Inner([1]), (Inner([2]),), {"a": Inner([3])})
    given = _asdict_init_only(made)
    assert given == {"inner": {"x": [1]}, "many": ({"x": [2]},), "by_name": {"a": {"x": [3]}}}
    assert given["inner"]["x"] is not made.inner.x
