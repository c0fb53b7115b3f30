"""What every call storage does, whatever it keeps its records in."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche.call import Call, DigestedCall, QueryCall
from fleche.digest import Digest, Indigestible, digest
from fleche.storage import (
    AmbiguousDigestError,
    CallBagOfHoldingH5File,
    CallBucket,
    CallMemory,
    CallPickleFile,
    CallStorage,
    SaveError,
    Sql,
)

#: How each kind is made in a folder; `server` gives the URL of an empty database.
KINDS: dict[str, Callable[[Path, Callable[[str], str]], CallStorage]] = {
    "memory": lambda folder, server: CallMemory({}),
    "pickle": lambda folder, server: CallPickleFile.with_pickle(folder / "pickle"),
    "cloudpickle": lambda folder, server: CallPickleFile.with_cloudpickle(folder / "cloud"),
    "dill": lambda folder, server: CallPickleFile.with_dill(folder / "dill"),
    "compressed": lambda folder, server: CallPickleFile(folder / "gzip", compress=True),
    "signed": lambda folder, server: CallPickleFile(folder / "signed", secret_key=b"key"),
    "bag": lambda folder, server: CallBagOfHoldingH5File(folder / "bag"),
    "bag of several": lambda folder, server: CallBagOfHoldingH5File(folder / "bags", None, 2),
    "bucket": lambda folder, server: CallBucket(
        (folder / "bucket").as_uri(), mirror=str(folder / "mirror")
    ),
    "sqlite": lambda folder, server: Sql(str(folder / "calls.db")),
    "sqlite in memory": lambda folder, server: Sql(),
    "postgresql": lambda folder, server: Sql(server("postgresql")),
    "mariadb": lambda folder, server: Sql(server("mariadb")),
}
PERSISTENT = [kind for kind in KINDS if "memory" not in kind]
DATABASES = ["sqlite", "sqlite in memory", "postgresql", "mariadb"]


def made(kind: str, folder: Path, request: pytest.FixtureRequest) -> CallStorage:
    """A new storage of a kind, in `folder` or in a database of its own."""
    return KINDS[kind](folder, lambda name: request.getfixturevalue(name).new_database())


def finish(storage: CallStorage) -> None:
    if isinstance(storage, Sql):
        storage._store.close()


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CallStorage]:
    storage = made(request.param, tmp_path, request)
    yield storage
    finish(storage)


def record(name: str = "f", *, result: Any = 1, **arguments: Any) -> DigestedCall:
    return Call(name, arguments, module="m", version=1, result=result).digest()


def found(storage: CallStorage, **template: Any) -> list[str]:
    """The keys that a query finds."""
    return sorted(call.to_lookup_key() for call in storage.query(QueryCall(**template)))


class TestRecords:
    def test_a_record_comes_back_whole(self, storage):
        call = DigestedCall(
            "outer.<locals>.f",
            {"z": digest(1), "a": digest("x"), "größe": digest(None)},
            digest([1]),
            {
                "runtime": {"walltime": 0.1, "n": 3, "big": 2**60 + 1, "ok": True, "none": None},
                "tags": {"text": "ü\U0001f600\n\"'\\", "list": [1, {"deep": [2.5]}], "": ""},
                "empty": {},
            },
            "package.module",
            "1.2",
            digest("code"),
        )
        key = storage.save(call)
        assert type(key) is Digest
        assert key == call.to_lookup_key()
        again = storage.load(key)
        assert again == call
        assert type(again) is DigestedCall
        assert list(again.arguments) == ["z", "a", "größe"]
        assert type(again.arguments["a"]) is type(again.result) is Digest
        assert again.to_lookup_key() == key

    @pytest.mark.parametrize("version", [None, 0, 3, 2**70, 1.5, "1.2", "", "3", True])
    def test_versions_keep_their_type(self, storage, version):
        call = DigestedCall("f", {}, digest(1), {}, None, version)
        again = storage.load(storage.save(call))
        assert again.version == version
        assert type(again.version) is type(version)
        assert again.to_lookup_key() == call.to_lookup_key()

    def test_a_pending_call_has_no_result(self, storage):
        key = storage.save(DigestedCall("f", {"x": digest(1)}))
        assert storage.load(key).result is None
        assert found(storage) == [key]

    def test_saving_again_replaces(self, storage):
        first, second = record(x=1, result=1), record(x=1, result=2)
        first.metadata = {"old": {"a": 1}}
        second.metadata = {"new": {"b": 2}}
        key = storage.save(first)
        assert storage.save(second) == key
        assert storage.load(key) == second
        assert list(storage.list()) == [key]

    def test_long_names(self, storage):
        call = DigestedCall("f" * 1000, {"a" * 500: digest(1)}, digest(1), {}, "m" * 1000)
        key = storage.save(call)
        assert storage.load(key) == call
        assert found(storage, name="f" * 1000, arguments={"a" * 500: 1}) == [key]

    def test_case_and_trailing_blanks_count(self, storage):
        keys = [storage.save(record(name, x=1)) for name in ("f", "F", "f ", "é", "e")]
        assert len(set(keys)) == len(keys)
        for name, key in zip(("f", "F", "f ", "é", "e"), keys, strict=True):
            assert found(storage, name=name) == [key]

    def test_many_arguments(self, storage):
        call = record(**{f"argument_{number}": number for number in range(300)})
        assert storage.load(storage.save(call)) == call


class TestKeys:
    def test_many_keys_are_looked_up_at_once(self, storage):
        held = [storage.save(record(x=number)) for number in range(3)]
        missing = [record(x=number).to_lookup_key() for number in range(3, 2003)]
        assert storage._contains_many([]) == []
        keys = [missing[0], *held, *missing, held[0]]
        assert storage._contains_many(keys) == [key in held for key in keys]
        storage.evict(held[1])
        assert storage._contains_many(held) == [True, False, True]

    def test_missing_keys(self, storage):
        missing = Digest("ab" * 32)
        with pytest.raises(KeyError):
            storage.load(missing)
        with pytest.raises(KeyError):
            storage.load("abcd")
        assert not storage.contains(missing)
        assert not storage.contains("abcd")
        storage.evict(missing)
        assert list(storage.list()) == []

    def test_listing_containing_and_evicting(self, storage):
        keys = [storage.save(record(x=number)) for number in range(10)]
        assert sorted(storage.list()) == sorted(keys)
        assert all(type(key) is Digest for key in storage.list())
        assert all(map(storage.contains, keys))
        storage.evict(keys[0])
        storage.evict(keys[0])
        assert not storage.contains(keys[0])
        assert sorted(storage.list()) == sorted(keys[1:])

    def test_prefixes(self, storage):
        keys = [storage.save(record(x=number)) for number in range(50)]
        for key, short in zip(keys, storage.shrink(*keys), strict=True):
            assert storage.expand(short) == key
            assert storage.load(short) == storage.load(key)
            assert storage.contains(short)
        assert storage.expand(keys[0]) == keys[0]
        for prefix in ("", "abc", keys[0][:3], "zzzz", "%%%%", "____", keys[0][:6].upper() + "G"):
            with pytest.raises(KeyError):
                storage.expand(prefix)
        storage.evict(storage.shrink(keys[0]))
        assert not storage.contains(keys[0])

    def test_an_ambiguous_prefix(self, storage):
        seen: dict[str, str] = {}
        for number in range(2000):
            call = record(x=number)
            key = call.to_lookup_key()
            if key[:4] in seen:
                storage.save(call)
                storage.save(record(x=seen[key[:4]]))
                break
            seen[key[:4]] = number
        with pytest.raises(AmbiguousDigestError):
            storage.load(key[:4])


class TestQueries:
    def test_by_every_field(self, storage):
        calls = [
            Call("f", {"x": 1, "y": 2}, {}, "m", 1, digest("c"), 3),
            Call("f", {"x": 1}, {"tags": {"a": 1}}, "m", 2, None, 4),
            Call("g", {"x": 2}, {"tags": {}}, "n", "1", None, [5]),
        ]
        one, two, three = (storage.save(call.digest()) for call in calls)
        everything = sorted([one, two, three])
        assert found(storage) == everything
        assert found(storage, name="f") == sorted([one, two])
        assert found(storage, name=digest("f")) == sorted([one, two])
        assert found(storage, name="%") == []
        assert found(storage, module="n") == [three]
        assert found(storage, version=1) == [one]
        assert found(storage, version=1.0) == [one]
        assert found(storage, version="1") == [three]
        assert found(storage, code_digest=digest("c")) == [one]
        assert found(storage, result=4) == [two]
        assert found(storage, result=digest(4, typed=True)) == [two]
        assert found(storage, result=digest([5])) == []
        assert found(storage, result=[5]) == [three]
        assert found(storage, arguments={}) == everything
        assert found(storage, arguments={"x": 1}) == sorted([one, two])
        assert found(storage, arguments={"x": digest(1)}) == sorted([one, two])
        assert found(storage, arguments={"x": 1.0, "y": None}) == [one]
        assert found(storage, arguments={"y": None}) == [one]
        assert found(storage, arguments={"z": None}) == []
        assert found(storage, arguments={"x": 2, "y": 2}) == []

    def test_by_metadata(self, storage):
        tags: dict[str, Any] = {
            "one": 1,
            "yes": True,
            "half": 0.5,
            "tenth": 0.1 + 0.2,
            "big": 2**60 + 1,
            "text": "ü",
            "quote": "'\"",
            "list": [1, 2],
            "none": None,
            'odd"key': 1,
        }
        call = record(x=1)
        call.metadata = {"tags": tags, "empty": {}}
        key = storage.save(call)
        storage.save(record(x=2))
        for name, value in tags.items():
            assert found(storage, metadata={"tags": {name: value}}) == [key], name
            assert found(storage, metadata={"tags": {name: None}}) == [key], name
            assert found(storage, metadata={"tags": {name: "other"}}) == [], name
        for present in ({"tags": {}}, {"tags": None}, {"empty": {}}, {"tags": {}, "empty": {}}):
            assert found(storage, metadata=present) == [key]
        assert found(storage, metadata={"tags": {"one": 1.0}}) == [key]
        for absent in (
            {"one": True},
            {"one": "1"},
            {"yes": 1},
            {"yes": "true"},
            {"big": 2**60},
            {"text": "u"},
            {"missing": None},
            {"none": "null"},
            {"list": [2, 1]},
        ):
            assert found(storage, metadata={"tags": absent}) == [], absent
        assert found(storage, metadata={"other": {}}) == []

    def test_an_indigestible_value_is_said(self, storage):
        storage.save(record(x=1))
        with pytest.raises(Indigestible):
            list(storage.query(QueryCall(arguments={"x": object()})))

    def test_more_than_a_page(self, storage, monkeypatch):
        # SQLite's pages have a size of their own.
        monkeypatch.setattr("fleche.storage.databases.records.PAGE", 50)
        number_of_records = 2010 if "sqlite" in getattr(storage, "url", "") else 210
        keys = [storage.save(record(x=number, y=number % 2)) for number in range(number_of_records)]
        assert found(storage) == sorted(keys)
        assert len(found(storage, arguments={"y": 1})) == number_of_records // 2
        assert sorted(storage.list()) == sorted(keys)

    def test_evicting_while_a_query_runs(self, storage):
        for number in range(20):
            storage.save(record(x=number))
        for call in storage.query(QueryCall(name="f")):
            storage.evict(call.to_lookup_key())
        assert list(storage.list()) == []


#: Values of arguments, results and metadata that are easily confused.
plain = st.sampled_from(
    [
        *(0, 1, 2, True, False, 1.0, 0.5, -0.0, 0.1 + 0.2, 2**53 + 1, 2**70, 1e300),
        *("", "1", "a", "A", "a ", "é", "\U0001f600", "\n", "null", "true"),
        *([1], [1.0], {"k": 1}, []),
    ]
)
# Infinities and NaN are no JSON, and PostgreSQL refuses them.
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = plain | st.none() | st.text(max_size=3) | finite | st.integers()
names = st.sampled_from(["f", "g", "F", "f "])
metadata = st.dictionaries(
    st.sampled_from(["tags", "runtime"]),
    st.dictionaries(st.sampled_from(["a", "b c", "A", 'q"', "é", ""]), json_values, max_size=3),
    max_size=2,
)
calls = st.builds(
    lambda *fields: Call(*fields).digest(),
    names,
    st.dictionaries(st.sampled_from(["x", "y", "X"]), plain, max_size=3),
    metadata,
    st.sampled_from([None, "m", "n"]),
    st.sampled_from([None, 1, 1.0, "1", 2]),
    st.sampled_from([None, digest("c")]),
    plain,
)


def or_digest(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | values.map(digest)


templates = st.builds(
    QueryCall,
    st.none() | or_digest(names),
    st.none()
    | st.dictionaries(st.sampled_from(["x", "y", "X"]), st.none() | or_digest(plain), max_size=2),
    st.none() | metadata,
    st.sampled_from([None, "m", "n"]),
    st.sampled_from([None, None, 1, 1.0, True, "1", 2]),
    st.sampled_from([None, None, digest("c")]),
    st.none() | or_digest(plain),
)


class TestEquivalence:
    """Every storage finds the same."""

    @pytest.fixture
    def storages(self, request, tmp_path):
        storages = {kind: made(kind, tmp_path, request) for kind in KINDS}
        yield storages
        for storage in storages.values():
            finish(storage)

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.lists(calls, max_size=6), st.lists(templates, min_size=1, max_size=6), st.booleans())
    def test_random_records_and_patterns(self, storages, records, patterns, evict_first):
        expected = {call.to_lookup_key(): call for call in records}
        if evict_first and records:
            del expected[records[0].to_lookup_key()]
        for kind, storage in storages.items():
            for key in list(storage.list()):
                storage.evict(key)
            for call in records:
                storage.save(call)
            if evict_first and records:
                storage.evict(records[0].to_lookup_key())
            held = {call.to_lookup_key(): call for call in storage.query(QueryCall())}
            assert held == expected, kind
            for pattern in patterns:
                matching = sorted(k for k, call in expected.items() if pattern.matches(call))
                assert found(storage, **vars(pattern)) == matching, (kind, pattern)


class TestObjects:
    def test_pickling(self, storage):
        key = storage.save(record(x=1))
        again = pickle.loads(pickle.dumps(storage))
        try:
            assert again == storage
            assert again.load(key) == storage.load(key)
            other = again.save(record(x=2))
            assert again.contains(other)
        finally:
            finish(again)

    def test_transforming(self, storage):
        keys = [storage.save(record(x=number)) for number in range(5)]

        def renamed(call):
            call = copy.copy(call)
            call.name = "renamed"
            return call

        storage.transform(renamed)
        assert len(found(storage, name="renamed")) == 5
        assert not any(map(storage.contains, keys))

    def test_threads(self, storage):
        def work(thread: int) -> None:
            for number in range(10):
                key = storage.save(record(x=number, own=thread))
                storage.save(record(x=number))
                assert storage.load(key).arguments["own"] == digest(thread)
                if number % 3 == 0:
                    storage.evict(key)
                assert all(call.name == "f" for call in storage.query(QueryCall(name="f")))

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, thread) for thread in range(8)]:
                done.result()
        kept = [record(x=n, own=t) for n in range(10) for t in range(8) if n % 3]
        expected = [*kept, *(record(x=number) for number in range(10))]
        assert sorted(storage.list()) == sorted(call.to_lookup_key() for call in expected)
        assert {call.to_lookup_key() for call in storage.query(QueryCall())} == set(storage.list())

    @pytest.mark.parametrize("kind", PERSISTENT)
    def test_opened_twice(self, kind, tmp_path, request):
        url = []

        def server(name):
            if not url:
                url.append(request.getfixturevalue(name).new_database())
            return url[0]

        first = KINDS[kind](tmp_path, server)
        key = first.save(record(x=1))
        second = KINDS[kind](tmp_path, server)
        try:
            assert first == second
            assert hash(first) == hash(second)
            assert second.load(key) == first.load(key)
            second.evict(key)
            assert not first.contains(key)
        finally:
            finish(first)
            finish(second)


@pytest.mark.parametrize("kind", DATABASES)
class TestDatabases:
    @pytest.fixture
    def database(self, kind, tmp_path, request):
        storage = made(kind, tmp_path, request)
        yield storage
        finish(storage)

    @pytest.mark.parametrize("bad", [object(), {1, 2}, b"bytes"])
    def test_metadata_that_is_no_json_is_named(self, database, bad):
        call = record(x=1)
        database.save(call)
        broken = copy.copy(call)
        broken.metadata = {"good": {"a": 1}, "my tags": {"b": bad}}
        with pytest.raises(SaveError, match="my tags"):
            database.save(broken)
        # Nothing was changed.
        assert database.load(call.to_lookup_key()) == call

    def test_a_record_without_a_name_is_refused(self, database):
        with pytest.raises(SaveError):
            database.save(DigestedCall(None, {}))

    def test_the_one_saved_last_is_the_newest(self, database):
        keys = [database.save(record(x=number)) for number in range(5)]
        database.save(record(x=1))
        assert database._list_by_age() == [keys[0], keys[2], keys[3], keys[4], keys[1]]

    def test_live_values_are_digested(self, database):
        key = database.save(DigestedCall("f", {"x": 1}, 2))
        assert database.load(key).arguments == {"x": digest(1)}
        assert database.load(key).result == digest(2, typed=True)

    def test_metadata_is_kept_as_json(self, database):
        call = record(x=1)
        call.metadata = {"t": {"b": 1, "a": (1, 2), "c": {"z": 1.0, "y": [None]}}}
        again = database.load(database.save(call))
        assert json.dumps(again.metadata) == json.dumps(call.metadata)
