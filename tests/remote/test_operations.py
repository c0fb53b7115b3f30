"""One behaviour: every operation, on a cache here and on the same cache over SSH."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fleche as package
from fleche import cache, fleche
from fleche.caches import BaseCache, CacheStack, RefreshingCache, Rejected
from fleche.call import Call, DigestedCall, QueryCall
from fleche.config import cache_from_config
from fleche.digest import Digest, Indigestible, digest
from fleche.storage import AmbiguousDigestError

from .conftest import Remote


def call(n: Any, name: str = "f") -> Call:
    return Call(name, {"x": n}, {"tags": {"n": str(n)}}, module="lab", version="1", result=[n, n])


def memory() -> BaseCache:
    return cache_from_config({"template": "memory"})


@pytest.fixture(params=["here", "ssh", "ssh, behind a stack", "here, sha256", "ssh, sha256"])
def served(request: pytest.FixtureRequest) -> BaseCache:
    """A cache on files: by itself, or over SSH."""
    if "sha256" in request.param:
        request.getfixturevalue("sha256")
    remote: Remote = request.getfixturevalue("remote")
    if request.param.startswith("here"):
        return remote.store()
    if "stack" in request.param:
        remote.configure(
            '[default]\nroot = true\ncache = "both"\n[[both]]\ntemplate = "cloudpickle"\n'
            'root = "."\n[[both]]\ntemplate = "memory"\n'
        )
    return remote.cache(ssh_options=request.getfixturevalue("one_login"))


def test_save_and_load(served: BaseCache, remote: Remote) -> None:
    key = served.save(call(1))
    assert type(key) is Digest
    assert key == call(1).to_lookup_key()
    loaded = served.load(key)
    assert loaded.fetch() == call(1) == remote.store().load(key).fetch()
    assert loaded.arguments["x"] == 1
    assert loaded.result == [1, 1]
    assert loaded.metadata == {"tags": {"n": "1"}}
    assert served.load(key[:8]).to_lookup_key() == key


def test_equal_arguments_are_objects_of_their_own(served: BaseCache) -> None:
    fetched = served.load(served.save(Call("f", {"x": [1], "y": [1]}, result=[1]))).fetch()
    fetched.arguments["x"].append(2)
    assert fetched.arguments["y"] == fetched.result == [1]


def test_a_digest_may_be_any_text(served: BaseCache) -> None:
    class Named:  # not of a module, so that it travels
        def __init__(self, name: str) -> None:
            self.name = name

        def __digest__(self) -> Digest:
            return Digest(self.name)

    ran = []

    @fleche
    def name_of(value: Any) -> Any:
        ran.append(value.name)
        return [value, value.name]

    with cache(served):
        for _ in range(2):
            assert name_of(Named("17"))[0].name == "17"
        assert name_of.query(Named("17")).only().arguments["value"].name == "17"
    assert ran == ["17"]


def test_a_record_is_saved_as_it_is(served: BaseCache) -> None:
    served.save(call(1))
    record = served.load(call(1).to_lookup_key()).detach()
    other = DigestedCall("g", record.arguments, record.result)
    key = served.save(other)
    assert served.load(key).detach() == other
    assert served.load(key).result == [1, 1]


def test_what_is_not_there(served: BaseCache) -> None:
    absent = digest("absent")
    for operation in (served.load, served.load_value, served.shrink):
        with pytest.raises(KeyError) as caught:
            operation(absent)
        assert absent in str(caught.value)
    with pytest.raises(KeyError):
        served.expand(absent[:10])
    with pytest.raises(KeyError):
        served.load("ab")
    assert not served.contains(absent)
    served.evict(absent)


def test_contains_and_evict(served: BaseCache, remote: Remote) -> None:
    key = served.save(call(1))
    assert served.contains(key)
    assert served.contains(key[:10])
    served.evict(key)
    assert not served.contains(key)
    assert not remote.store().contains(key)


def test_many_calls_are_looked_up_at_once(served: BaseCache) -> None:
    keys = [served.save(call(n)) for n in range(3)]
    absent = call(9).to_lookup_key()
    assert served._contains_many([absent, *keys, absent]) == [False, True, True, True, False]


def test_expand_and_shrink(served: BaseCache, remote: Remote) -> None:
    keys = [served.save(call(n)) for n in range(20)]
    value = served.load(keys[0]).detach().result
    assert value is not None
    short = served.shrink(*keys)
    assert isinstance(short, tuple)
    assert short == remote.store().shrink(*keys)
    assert [served.expand(each) for each in short] == keys
    one = served.shrink(keys[0])
    assert type(one) is Digest
    assert served.expand(served.shrink(value)) == value
    assert served.expand(keys[3]) == keys[3]
    stack = CacheStack((cache_from_config({"template": "memory"}), served))
    assert stack.shrink(*keys) == short
    with pytest.raises(KeyError):
        stack.shrink(*keys, "f" * 64)


def test_an_ambiguous_prefix(served: BaseCache, remote: Remote) -> None:
    store = remote.store()
    first = Digest("abcd" + "0" * 60)
    for key in (first, Digest("abcd" + "1" * 60)):
        store.values.save("value", key)  # type: ignore[attr-defined]
    with pytest.raises(AmbiguousDigestError):
        served.load_value("abcd")
    assert served.load_value(first) == "value"


def test_queries(served: BaseCache) -> None:
    for n in range(200):
        served.save(call(n))
    served.save(call(1, "g"))
    assert served.query().count() == 201
    assert served.query(name="g").only().result == [1, 1]
    assert served.query(QueryCall("f", {"x": 7})).only().fetch() == call(7)
    assert served.query(metadata={"tags": {"n": "9"}}).only().arguments["x"] == 9
    assert served.query(result=[5, 5]).only().arguments["x"] == 5
    assert served.query(name="nobody").empty()
    assert served.query(name="f").any() is not None
    # Each pass asks again, and one that is given up is in nobody's way.
    found = served.query(name="f")
    assert len({c.arguments["x"] for c in found.take(100)}) == 100
    assert [3, 3] in found.results()
    served.save(call(1000))
    assert found.count() == 201
    assert len(served.table("x")) == 202


def test_a_query_for_what_has_no_digest(
    served: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    served.save(call(1))
    assert served.query(arguments={"x": threading.Lock()}).empty()
    assert "No hash for query argument" in caplog.text


def _is_local(served: BaseCache) -> bool:
    return type(served).__name__ != "SshCache"


def test_prepare_and_commit(served: BaseCache, remote: Remote) -> None:
    x = [1, 2]
    prepared = served.prepare(Call("f", {"x": x}))
    key = prepared.to_lookup_key()
    x.append(3)
    assert not served.contains(key)
    assert prepared.commit("done", {"tags": {"a": "b"}}) == key
    loaded = remote.store().load(key)
    assert (loaded.result, loaded.arguments["x"], loaded.metadata) == (
        *("done", [1, 2]),
        {"tags": {"a": "b"}},
    )
    with pytest.raises(RuntimeError):
        prepared.commit("again")


def test_arguments_are_sealed_whatever_their_size(served: BaseCache, remote: Remote) -> None:
    large, small = np.zeros(100_000), np.zeros(10)
    prepared = served.prepare(Call("f", {"large": large, "small": small}))
    large[:] = small[:] = 1
    loaded = remote.store().load(prepared.commit("done"))
    assert not loaded.arguments["large"].any()
    assert not loaded.arguments["small"].any()
    # Those that are there already are known by their digests.
    again = served.prepare(Call("f", {"large": np.zeros(100_000), "small": large}))
    loaded = remote.store().load(again.commit("done"))
    assert not loaded.arguments["large"].any()
    assert loaded.arguments["small"].all()


def test_an_abandoned_call_leaves_no_record(served: BaseCache) -> None:
    with served.prepare(Call("f", {"x": 1})) as prepared:
        pass
    assert not served.contains(prepared.to_lookup_key())
    assert served.query().empty()


def test_an_argument_that_cannot_be_stored(
    served: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = served.prepare(Call("f", {"x": Unpicklable(), "y": [7]}))
    key = prepared.commit("done")
    assert "Failed to save argument 'x'" in caplog.text
    assert served.load(key).arguments["x"] == digest(Unpicklable())
    assert served.load(key).arguments["y"] == [7]


class Unpicklable:
    def __digest__(self) -> str:
        return digest("unpicklable")

    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def test_indigestible_arguments(served: BaseCache) -> None:
    with pytest.raises(Indigestible):
        served.prepare(Call("f", {"x": threading.Lock()}))
    with pytest.raises(Indigestible):
        served.save(Call("f", {"x": threading.Lock()}, result=1))


def test_decorated_calls(served: BaseCache, remote: Remote) -> None:
    ran: list[int] = []

    @fleche
    def triple(x: int) -> list[int]:
        ran.append(x)
        return [x, x, x]

    with cache(served):
        assert triple(2) == triple(2) == triple(2.0) == [2, 2, 2]  # type: ignore[arg-type]
        assert ran == [2]
        assert triple.contains(2)  # type: ignore[attr-defined]
        assert triple.load(2) == [2, 2, 2]  # type: ignore[attr-defined]
        assert triple.query().only().arguments["x"] == 2  # type: ignore[attr-defined]
        assert triple.rerun(2) == [2, 2, 2]  # type: ignore[attr-defined]
        assert ran == [2, 2]
        key = triple.digest(2)  # type: ignore[attr-defined]
        assert triple(remote.store().load(key).detach().arguments["x"]) == [2, 2, 2]
        assert ran == [2, 2]
    assert remote.store().load(key).metadata["runtime"]["walltime"] >= 0


def test_decorated_calls_through_wrappers_keep_their_arguments(
    served: BaseCache, remote: Remote
) -> None:
    @fleche
    def double(x: list[int]) -> list[int]:
        return x + x

    for wrapper in (RefreshingCache(served), CacheStack((served,)), memory().push(served)):
        with cache(wrapper):
            double([1])
        key = double.digest([1])  # type: ignore[attr-defined]
        assert remote.store().load(key).fetch().arguments == {"x": [1]}
        served.evict(key)


def test_a_none_and_an_exception_are_not_cached(served: BaseCache) -> None:
    @fleche
    def strange(x: int) -> None:
        if x:
            raise ValueError(x)

    with cache(served):
        assert strange(0) is None
        with pytest.raises(ValueError, match="1"):
            strange(1)
    assert served.query().empty()


def test_results_of_all_sizes_and_kinds(served: BaseCache) -> None:
    values = [
        *(b"x", "ä", 2, 2.0, (1, [2.0]), {"b": 1, "a": {2}}),
        *(bytes(65_535), bytes(65_536), bytearray(70_000), "y" * 300_000),
        *(np.arange(3), np.zeros((300, 300)), np.asfortranarray(np.ones((200, 100)))),
        [np.full(20_000, n) for n in range(30)],
    ]
    for number, value in enumerate(values):
        key = served.save(Call("f", {"n": number}, result=value))
        loaded = served.load(key).result
        assert type(loaded) is type(value)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(loaded, value)
            loaded += 1  # one's own, as from anywhere else
        elif isinstance(value, list):
            assert all((a == b).all() for a, b in zip(loaded, value, strict=True))
        else:
            assert loaded == value


def test_functions_and_classes_of_the_program_travel(served: BaseCache) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def __digest__(self) -> str:
            return digest(self.x)

    key = served.save(Call("f", {"x": 1}, result=lambda x: x + 1))
    assert served.load(key).result(1) == 2
    key = served.save(Call("f", {"p": Point(3)}, result=1))
    assert served.load(key).arguments["p"].x == 3


def test_transfer_from_and_to(served: BaseCache) -> None:
    here = memory()
    for n in range(20):
        here.save(call(n))
    here.transfer(served)
    assert served.query().count() == 20
    back = memory()
    served.transfer(back, pop=True)
    assert served.query().empty()
    assert sorted(c.arguments["x"] for c in back.query()) == list(range(20))
    assert back.query(arguments={"x": 3}).only().fetch() == call(3)


def test_a_call_whose_result_is_lost(served: BaseCache, remote: Remote) -> None:
    key = served.save(call(1))
    record = served.load(key).detach()
    assert record.result is not None
    store: Any = remote.store()
    store.values.evict(record.result)
    with pytest.raises(KeyError):
        _ = served.load(key).result
    with pytest.raises(KeyError):
        served.load(key).fetch()
    ran = []

    @fleche
    def f(x: int) -> list[int]:
        ran.append(x)
        return [x, x]

    with cache(served):
        f(1)
        made = store.load(f.digest(1)).detach().result  # type: ignore[attr-defined]
        store.values.evict(made)
        assert f(1) == [1, 1]
    assert ran == [1, 1]


def test_garbage_is_collected_beside_calls_that_are_being_saved(
    served: BaseCache, remote: Remote
) -> None:
    large = np.arange(100_000)
    with served.prepare(Call("f", {"x": large})) as prepared:
        store: Any = remote.store()
        served.save(call(1))
        store.gc()
        key = prepared.commit("done")
    assert served.load(key).result == "done"
    store.gc()
    assert served.load(key).fetch().result == "done"


def test_views(served: BaseCache) -> None:
    key = served.save(call(1))
    view = served.readonly()
    assert view.load(key).result == [1, 1]
    for operation in (lambda: view.save(call(2)), lambda: view.evict(key)):
        with pytest.raises(Rejected):
            operation()
    assert served.filter(QueryCall("g")).query().empty()
    assert served.push(memory()).load(key).result == [1, 1]


def test_threads(served: BaseCache) -> None:
    """Many at once, on one connection: each gets what it asked for."""

    def work(number: int) -> list[Any]:
        value = np.full(20_000 if number % 3 else 5, number)
        key = served.save(Call("f", {"n": number}, result=value))
        found = served.load(key)
        assert served.contains(key)
        return [found.arguments["n"], int(found.result[-1]), served.expand(key[:30]) == key]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(64))) == [[n, n, True] for n in range(64)]
    assert served.query(name="f").count() == 64


def test_decorated_calls_from_threads(served: BaseCache) -> None:
    @fleche
    def square(x: int) -> int:
        return x * x

    with cache(served):
        bound = square.bind()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(bound, [n % 10 for n in range(80)])) == [
            (n % 10) ** 2 for n in range(80)
        ]
    assert served.query().count() == 10


def test_one_call_transferred_by_many_threads_is_taken_once(served: BaseCache) -> None:
    here = memory()
    here.save(call(1))
    source = here.query().only()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: served._transfer_one(source), range(16)))
    assert taken.count(True) == 1


def test_equal_and_pickled(served: BaseCache) -> None:
    key = served.save(call(1))
    copy: BaseCache = pickle.loads(pickle.dumps(served))
    assert copy == served
    assert hash(copy) == hash(served) if not _is_local(served) else True
    assert copy.load(key).result == [1, 1]
    if not _is_local(served):
        copy.close()  # type: ignore[attr-defined]


def test_the_package_gives_access_to_the_module() -> None:
    assert package.remote.SshCache.__module__ == "fleche.remote"
