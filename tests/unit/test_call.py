"""Call records: live, digested, lazy, prepared, and patterns of them."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import Ignored, Required
from fleche.caches import Cache
from fleche.call import (
    Call,
    DigestedCall,
    FunctionProfile,
    LazyCall,
    PreparedCall,
    QueryCall,
    bind,
)
from fleche.digest import Digest, Indigestible, digest
from fleche.storage import SaveError, ValueMemory, ValueVoid

from .calls import memory_cache


def f(a: int, b: int = 2, *args: int, k: int = 3, **kw: int) -> int:
    return a


def add(x: int, y: int = 2) -> int:
    return x + y


@pytest.fixture
def held() -> Cache:
    return memory_cache()


# Call


def test_from_call() -> None:
    call = Call.from_call(f, 1, z=9)
    assert call.arguments == {"a": 1, "b": 2, "args": (), "k": 3, "kw": {"z": 9}}
    assert (call.name, call.module, call.version) == ("f", __name__, None)
    assert call.code_digest == digest(f)
    assert (call.metadata, call.result) == ({}, None)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        Call.from_call(f)
    with pytest.raises(TypeError):
        hash(call)


def test_equality_of_calls(held: Cache) -> None:
    assert Call("x", {"a": digest(1)}) == DigestedCall("x", {"a": digest(1)})
    assert DigestedCall("x", {"a": digest(1)}) == Call("x", {"a": digest(1)})
    assert Call("x", {"a": 1}) != Call("x", {"a": 1}).digest()
    record = Call("x", {"a": 1}, result=2).digest()
    assert record != record.fetch(held)
    assert record.fetch(held) == record.fetch(memory_cache())
    assert Call("x", {}) != "x"


def test_lookup_keys_count_what_they_should() -> None:
    base = {"name": "f", "arguments": {"a": 1, "b": 2}, "module": "m", "version": 1}
    key = Call(**base).to_lookup_key()
    assert type(key) is Digest
    for same in ({"result": 3}, {"metadata": {"tags": {"a": 1}}}, {"version": 1.0}):
        assert Call(**(base | same)).to_lookup_key() == key
    assert Call(**(base | {"arguments": {"a": 1.0, "b": digest(2)}})).to_lookup_key() == key
    for other in (
        {"name": "g"},
        {"module": None},
        {"version": "1"},
        {"version": None},
        {"code_digest": digest("code")},
        {"arguments": {"b": 2, "a": 1}},
        {"arguments": {"a": 1}},
        {"arguments": {"a": 1, "c": 2}},
        {"arguments": {"a": 2, "b": 1}},
    ):
        assert Call(**(base | other)).to_lookup_key() != key


def test_digests_of_records_agree(held: Cache) -> None:
    call = Call("f", {"a": [1], "b": "x"}, {"tags": {"t": 1}}, "m", 2, digest("code"), [2.0])
    record = call.digest()
    lazy = record.fetch(held)
    of_digests = Call(
        "f", record.arguments, record.metadata, "m", 2, record.code_digest, record.result
    )
    assert digest(call) == digest(record) == digest(lazy) == digest(of_digests)
    assert digest(call, typed=True) == digest(record, typed=True) == digest(lazy, typed=True)
    assert call.to_lookup_key() == record.to_lookup_key() == lazy.to_lookup_key()
    assert digest(Call("f", {"a": [1], "b": "x"})) != digest(call)
    pending = Call("f", {}).digest()
    assert pending.result is None
    assert digest(pending) == digest(Call("f", {}))


@given(
    arguments=st.dictionaries(
        st.text(max_size=3), st.integers() | st.text() | st.lists(st.floats(allow_nan=False))
    ),
    result=st.none() | st.integers() | st.text(),
)
def test_records_agree_whatever_they_hold(arguments: dict[str, Any], result: Any) -> None:
    call = Call("f", arguments, result=result)
    held = memory_cache()
    record = call.stash(held.values)
    assert record == call.digest()
    assert digest(record) == digest(call)
    assert record.to_lookup_key() == call.to_lookup_key()
    assert record.fetch(held).fetch() == call
    assert list(record.arguments) == list(arguments)


def test_results_have_typed_digests_arguments_untyped_ones() -> None:
    record = Call("f", {"x": 2}, result=2).digest()
    assert record.arguments["x"] == digest(2) == digest(2.0)
    assert record.result == digest(2, typed=True) != digest(2)


def test_stash_stores_arguments_and_result(held: Cache) -> None:
    call = Call("f", {"x": [1], "y": digest("elsewhere")}, {"tags": {"t": 1}}, result={"r": 1})
    record = call.stash(held.values)
    assert record == call.digest()
    assert held.values.load(record.arguments["x"]) == [1]
    assert held.values.load(record.result) == {"r": 1}
    assert not held.values.contains(digest("elsewhere"))


def test_an_argument_that_cannot_be_stored(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(ValueMemory):
        def put(self, value: Any, key: Digest) -> Digest:
            if value == "no":
                raise SaveError("no")
            return super().put(value, key)

    values = Picky({})
    record = Call("f", {"x": "no", "y": "yes"}, result=1).stash(values)
    assert caplog.messages == ["Failed to save argument 'x': falling back to digest-only reference"]
    assert record.arguments["x"] == digest("no")
    with pytest.raises(SaveError):
        Call("f", {}, result="no").stash(values)


def test_an_argument_never_takes_the_place_of_another_value(held: Cache) -> None:
    class Same:
        def __digest__(self) -> Digest:
            return digest("text")

    Call("f", {}, result="text").stash(held.values)
    Call("f", {"x": Same()}).stash(held.values)
    Call("f", {"x": [digest("text")]}).stash(held.values)
    assert held.values.load(digest("text")) == "text"


def test_indigestible_calls() -> None:
    call = Call("f", {"x": object()})
    with pytest.raises(Indigestible):
        call.digest()
    with pytest.raises(Indigestible):
        call.stash(ValueVoid())
    # A result needs no digest.
    assert Call("f", {}, result=object()).digest().result is not None
    with pytest.raises(Indigestible):
        Call("f", {"x": object()}).to_lookup_key()


def test_pickles_are_those_of_the_reference(held: Cache) -> None:
    record = Call("f", {"x": 1}, {"tags": {"t": 1}}, "m", 2, result=3).digest()
    make, arguments, state = record.__reduce_ex__(2)[:3]
    assert (make.__name__, arguments) == ("__newobj__", (DigestedCall,))
    assert list(state) == [
        *("name", "arguments", "result", "metadata", "module", "version", "code_digest")
    ]
    lazy = record.fetch(held)
    assert list(lazy.__reduce_ex__(2)[2]) == [
        *("name", "_arguments", "_result", "_cache", "metadata"),
        *("module", "version", "code_digest"),
    ]
    for protocol in range(2, 6):
        for one in (record, Call("f", {"x": 1}), QueryCall("f"), lazy, lazy.arguments):
            other = pickle.loads(pickle.dumps(one, protocol))
            assert type(other) is type(one)
            if one is not lazy.arguments:
                assert other == one


# LazyCall


def test_lazy_calls_load_when_looked_at(held: Cache) -> None:
    key = held.save(Call("f", {"x": [1], "gone": "gone"}, {"m": {"k": 1}}, result=[2]))
    held.values.evict(digest("gone"))
    lazy = held.load(key)
    assert isinstance(lazy, LazyCall)
    assert lazy.arguments["x"] == [1]
    assert lazy.arguments["gone"] == digest("gone")
    assert dict(lazy.arguments) == lazy.arguments
    assert len(lazy.arguments) == 2
    assert "x" in lazy.arguments
    with pytest.raises(KeyError):
        lazy.arguments["nope"]
    assert repr(lazy.arguments) == f"LazyArguments({lazy.detach().arguments!r})"
    assert lazy.result == [2]
    assert lazy.fetch() == Call(
        "f", {"x": [1], "gone": digest("gone")}, {"m": {"k": 1}}, result=[2]
    )
    assert lazy.detach() == held.calls.load(key)
    held.values.evict(lazy.detach().result)
    with pytest.raises(KeyError):
        lazy.result  # noqa: B018
    with pytest.raises(KeyError):
        lazy.fetch()
    with pytest.raises(FrozenInstanceError):
        lazy.name = "g"  # type: ignore[misc]
    assert DigestedCall("f", {}).fetch(held).result is None


# PreparedCall


def test_exactly_one_of_commit_and_abandon(held: Cache) -> None:
    prepared = held.prepare(Call("f", {"x": [1]}))
    assert held.query().empty()
    assert held.values.load(digest([1])) == [1]
    key = prepared.commit([2], {"tags": {"t": 1}})
    assert key == prepared.to_lookup_key() == Call("f", {"x": [1]}).to_lookup_key()
    assert held.load(key).result == [2]
    assert held.load(key).metadata == {"tags": {"t": 1}}
    abandoned = held.prepare(Call("g", {}))
    abandoned.abandon()
    abandoned.abandon()
    for ended in (prepared, abandoned):
        with pytest.raises(RuntimeError, match="already committed or abandoned"):
            ended.commit(3)
    prepared.abandon()
    assert held.query().count() == 1


def test_a_prepared_call_as_context_manager(held: Cache) -> None:
    with held.prepare(Call("f", {})) as prepared:
        assert isinstance(prepared, PreparedCall)
    with pytest.raises(RuntimeError):
        prepared.commit(1)
    with held.prepare(Call("f", {})) as prepared:
        prepared.commit(1)
    with pytest.raises(ZeroDivisionError), held.prepare(Call("g", {})):
        1 / 0  # noqa: B018
    assert [call.name for call in held.query()] == ["f"]


def test_a_call_is_sealed_when_it_is_prepared(held: Cache) -> None:
    argument = [1]
    prepared = held.prepare(Call("f", {"x": argument}))
    argument.append(2)
    assert held.load(prepared.commit(3)).arguments["x"] == [1]


def test_a_prepared_result_is_exact(held: Cache) -> None:
    held.save(Call("g", {}, result=2.0))
    prepared = held.prepare(Call("f", {}, result=2))
    assert type(held.values.load(prepared.digested.result)) is int


def test_a_digest_is_a_result_like_any_other(held: Cache) -> None:
    key = held.prepare(Call("f", {"x": "text"})).commit(digest("text"))
    assert held.load(key).result == digest("text")
    assert type(held.load(key).result) is Digest
    assert held.load(key).arguments["x"] == "text"


# QueryCall


def test_patterns_of_calls() -> None:
    assert QueryCall.from_call(f, 1) == QueryCall(
        "f", {"a": 1, "b": None, "args": None, "k": None, "kw": None}, module=__name__
    )
    with pytest.raises(TypeError, match="too many positional arguments"):
        QueryCall.from_call(add, 1, 2, 3)


CALL = Call("f", {"a": 1, "b": [2]}, {"m": {"k": 1, "l": "x"}}, "mod", 3, digest("code"), 2)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "f"},
        {"name": digest("f")},
        {"module": "mod"},
        {"version": 3},
        {"code_digest": digest("code")},
        {"result": 2},
        {"result": digest(2, typed=True)},
        {"arguments": {}},
        {"arguments": {"a": 1.0}},
        {"arguments": {"a": digest(1), "b": [2]}},
        {"arguments": {"a": None}},
        {"metadata": {}},
        {"metadata": {"m": {}}},
        {"metadata": {"m": None}},
        {"metadata": {"m": {"k": None}}},
        {"metadata": {"m": {"k": 1, "l": "x"}}},
    ],
)
def test_what_matches(fields: dict[str, Any]) -> None:
    held = memory_cache()
    for call in (CALL, CALL.digest(), CALL.stash(held.values).fetch(held)):
        assert QueryCall(**fields).matches(call)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "g"},
        {"module": "other"},
        {"version": "3"},
        {"code_digest": digest("other")},
        {"result": 3},
        {"arguments": {"a": 2}},
        {"arguments": {"c": None}},
        {"arguments": {"a": 1, "b": [3]}},
        {"metadata": {"n": {}}},
        {"metadata": {"m": {"z": None}}},
        {"metadata": {"m": {"k": 2}}},
    ],
)
def test_what_does_not_match(fields: dict[str, Any]) -> None:
    held = memory_cache()
    for call in (CALL, CALL.digest(), CALL.stash(held.values).fetch(held)):
        assert not QueryCall(**fields).matches(call)


# What is given out is the caller's own

NESTED: dict[str, Any] = {"m": {"list": [1, {"in": [2]}]}}


@pytest.mark.parametrize(
    "get",
    [
        lambda lazy: lazy.detach(),
        lambda lazy: lazy.detach().fetch(lazy._cache),
        lambda lazy: lazy.fetch(),
        lambda lazy: lazy.fetch().digest(),
        lambda lazy: lazy.fetch().stash(lazy._cache.values),
        lambda lazy: lazy._cache.query().only(),
        lambda lazy: lazy._cache.load(lazy.to_lookup_key()),
    ],
    ids=["detach", "record", "fetch", "digest", "stash", "query", "load"],
)
def test_what_a_getter_gives_shares_nothing(get: Callable[[LazyCall], Any]) -> None:
    held = memory_cache()
    lazy = held.load(held.save(Call("f", {"a": [1], "b": [1]}, NESTED, result=[1])))
    expected = lazy.detach()
    given = get(lazy)
    given.metadata["m"]["list"][1]["in"].append(3)
    given.metadata["more"] = {}
    arguments = given.arguments if isinstance(given.arguments, dict) else given._arguments
    arguments["more"] = arguments["a"]
    if isinstance(given, Call):
        given.arguments["a"].append(2)
        given.result.append(2)
        assert given.arguments["b"] == [1]
    assert lazy.detach() == expected
    assert lazy.fetch() == Call("f", {"a": [1], "b": [1]}, NESTED, result=[1])
    assert NESTED == {"m": {"list": [1, {"in": [2]}]}}


def test_a_call_and_its_record_share_nothing() -> None:
    call = Call("f", {"a": 1}, {"m": {"list": [1]}}, result=2)
    record = call.digest()
    record.metadata["m"]["list"].append(2)
    record.arguments["b"] = record.arguments["a"]
    lazy = record.fetch(memory_cache())
    lazy.metadata["m"]["list"].append(3)
    assert call == Call("f", {"a": 1}, {"m": {"list": [1]}}, result=2)
    assert record.metadata == {"m": {"list": [1, 2]}}


def test_an_indigestible_pattern() -> None:
    with pytest.raises(Indigestible):
        QueryCall("f", {"x": object()}).matches(CALL)


# Binding


def test_bind() -> None:
    assert bind(f, (1,), {"z": 3}) == {"a": 1, "kw": {"z": 3}}
    assert list(bind(f, (1,), {"z": 3}, apply_defaults=True)) == ["a", "b", "args", "k", "kw"]
    assert bind(f, (), {"k": 1}, partial=True) == {"k": 1}
    with pytest.raises(TypeError, match="too many positional arguments"):
        bind(add, (1, 2, 3), {})
    with pytest.raises(TypeError, match="3 is not a callable object"):
        bind(3, (), {})  # type: ignore[arg-type]


def test_profiles() -> None:
    def g(
        a: Ignored,
        b: Ignored[int],
        c: Annotated[int, "text", Required],
        d: Annotated[Annotated[int, Ignored], 1] = 0,
        *args: Ignored[int],
        e: Required[int] = 1,
        plain: Annotated[int, Ignored()] = 0,  # type: ignore[valid-type]
    ) -> None:
        pass

    profile = FunctionProfile.of(g)
    assert profile is FunctionProfile.of(g)
    assert profile.ignored == {"a", "b", "d", "args"}
    assert profile.required == {"c", "e"}
    assert profile.check_required((1, 2), {}) == ["c", "e"]
    assert profile.check_required((1, 2, 3), {"e": 1}) == []
    arguments = {"a": 1, "c": 2}
    assert profile.strip_for_key(arguments) is None
    assert arguments == {"c": 2}
    assert profile.qualname.endswith(".g")


def test_markers() -> None:
    assert Ignored[int] == Annotated[int, Ignored]
    assert repr(Ignored) == "<class 'fleche.call.Ignored'>"
    with pytest.raises(TypeError):
        Required(int)  # type: ignore[call-arg]


class Unhashable:
    __hash__ = None  # type: ignore[assignment]
    __version__ = "7"

    def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("func", "name", "module", "version"),
    [
        (len, "len", "builtins", True),
        (dict.get, "dict.get", "builtins", True),
        (Unhashable(), "Unhashable", __name__, "7"),
        (functools.partial(add, 1), "partial", "functools", True),
        (str.upper, "str.upper", "builtins", True),
        (pickle.dumps, "dumps", "_pickle", True),
        (add, "add", __name__, None),
    ],
)
def test_names_of_callables(func: Any, name: str, module: str, version: Any) -> None:
    import platform

    profile = FunctionProfile.of(func)
    expected = platform.python_version() if version is True else version
    assert (profile.qualname, profile.module, profile.version) == (name, module, expected)
    assert profile.code_digest == (digest(add) if func is add else None)
