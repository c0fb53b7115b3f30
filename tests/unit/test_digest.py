"""Digests: the laws of both schemes, hooks, `__digest__`, the choice of a scheme."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import enum
import fractions
import functools
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fleche as package
from fleche import D, _core, cache, fleche
from fleche.digest import (
    DIGEST_LENGTH,
    Digest,
    Hook,
    Indigestible,
    add_hook,
    digest,
    digest_class,
    get_hooks,
)
from fleche.storage import ValueMemory

FULL = "ab" * 32


@pytest.fixture(params=["exact", "sha256"])
def scheme(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.scheme()
    _core.set_scheme(request.param)
    yield request.param
    _core.set_scheme(before)


@pytest.fixture
def hooks() -> Iterator[None]:
    """Hooks registered in a test do not outlive it."""
    before = _core.manual_hooks()
    _core.set_manual_hooks([])
    yield
    _core.set_manual_hooks(before)


class Says:
    """Says its own digest."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __digest__(self) -> object:
        return self.answer


class Plain:
    pass


def in_another_process(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


# --- Digest and D ---


def test_a_digest_is_64_hex_characters(scheme: str) -> None:
    value = digest("x")
    assert type(value) is Digest
    assert isinstance(value, str)
    assert len(value) == DIGEST_LENGTH == 64
    assert int(value, 16) >= 0
    assert value == value.lower()


def test_a_digest_pickles_by_its_public_name() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(Digest(FULL), protocol)
        assert b"fleche.digest" in pickled
        again = pickle.loads(pickled)
        assert type(again) is Digest
        assert again == FULL


@pytest.mark.parametrize("text", ["3f2a", "ABC", FULL, "0"])
def test_d_takes_hex_characters_as_they_are(text: str) -> None:
    assert D(text) == text
    assert type(D(text)) is Digest


@pytest.mark.parametrize("value", ["", "xyz", "a" * 65, " ab", "é", 5, b"ab", [1], None])
def test_d_digests_everything_else(value: object) -> None:
    assert D(value) == digest(value)
    assert package.D is D


def test_expand_and_shrink_ask_the_cache_given_or_the_active_one() -> None:
    values = ValueMemory({})
    key = values.save(["some", "text"])
    assert key.shrink(values) == key[:4]
    assert Digest(key[:5]).expand(values) == key
    with cache("memory"):
        inside = package.cache().values.save(["some", "text"])  # type: ignore[attr-defined]
        assert Digest(inside[:6]).expand() == inside
        assert inside.shrink() == inside[:4]
        with pytest.raises(KeyError):
            Digest("0" * 6).expand()


# --- laws ---


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.lists(st.booleans()))
def test_a_digest_is_its_own_digest(value: object) -> None:
    for name in ("exact", "sha256"):
        once = _core.digest(value, scheme=name)
        assert _core.digest(once, scheme=name) == once


children = st.lists(st.integers() | st.text(), min_size=1, max_size=4)


@given(children)
def test_containers_digest_the_same_whether_of_values_or_of_digests(items: list[Any]) -> None:
    @dataclasses.dataclass
    class Record:
        first: object
        rest: object

    for name in ("exact", "sha256"):
        of = functools.partial(_core.digest, scheme=name)
        digests = [of(item) for item in items]
        assert of(items) == of(digests)
        assert of(tuple(items)) == of(tuple(digests))
        assert of({"k": items}) == of({of("k"): of(digests)})
        assert of(Record(items[0], items)) == of(Record(digests[0], of(items)))


def test_equal_numbers_agree_and_bools_are_apart(scheme: str) -> None:
    ones = [1, 1.0, 1 + 0j, fractions.Fraction(1), decimal.Decimal(1), np.int8(1), np.float64(1)]
    assert len({digest(one) for one in ones}) == 1
    assert len({digest([{"k": one}]) for one in ones}) == 1
    assert digest(True) != digest(1)
    assert digest(np.bool_(True)) == digest(True)


def test_containers_of_different_types_differ(scheme: str) -> None:
    class Mine(list[int]):
        pass

    assert len({digest([1]), digest((1,)), digest({1}), digest({1: 1}), digest(Mine([1]))}) == 5


def test_mappings_do_not_depend_on_insertion_order(scheme: str) -> None:
    assert digest({"a": 1, 2: "b"}) == digest({2: "b", "a": 1})


def test_a_dataclass_and_an_attrs_instance_of_one_name(scheme: str) -> None:
    one = dataclasses.make_dataclass("Point", ["x", "y"])
    two = attrs.make_class("Point", ["x", "y"])
    # Two classes are two kinds of values, in scheme `exact`.
    assert (digest(one(1, [2])) == digest(two(1, [2]))) == (scheme == "sha256")
    assert digest(one(1, 2)) != digest(one(2, 1))


def test_content_counts_in_every_process(scheme: str) -> None:
    code = "from fleche.digest import digest; print(digest({'a': [1, 'x'], 'b': (None, 2.5)}))"
    here = digest({"b": (None, 2.5), "a": [1, "x"]})
    for seed in ("1", "2"):
        there = in_another_process(code, PYTHONHASHSEED=seed, FLECHE_DIGEST=scheme)
        assert there.strip() == here


@pytest.mark.parametrize(
    "value",
    [Plain(), Plain, object(), [1, Plain()], {Plain(): 1}, (1, {"k": [Plain()]})],
    ids=["instance", "class", "object", "list", "key", "deep"],
)
def test_a_value_without_a_digest_is_indigestible(value: object) -> None:
    with pytest.raises(Indigestible) as caught:
        _core.digest(value, scheme="sha256")
    assert isinstance(caught.value.args[0], (Plain, type, object))


# --- functions ---


def made(captured: object, default: object = 1) -> Callable[..., object]:
    def function(x: object, y: object = default) -> object:
        return captured, x, y

    return function


def test_functions_digest_by_what_they_do(scheme: str) -> None:
    def copy(captured: object, default: object = 1) -> Callable[..., object]:
        def function(x: object, y: object = default) -> object:
            return captured, x, y

        return function

    assert digest(made(1)) == digest(made(1)) == digest(copy(1))
    assert len({digest(made(1)), digest(made(2)), digest(made(1, 2))}) == 3


def test_a_decorated_function_digests_as_the_one_it_wraps(scheme: str) -> None:
    function = made([1, 2])
    assert digest(fleche(function)) == digest(function)
    assert digest([fleche(function)]) == digest([function])


def test_a_bound_method_counts_by_function_and_receiver(scheme: str) -> None:
    class Receiver(Says):
        def method(self) -> int:
            return 1

        def other(self) -> int:
            return 2

        @classmethod
        def of(cls) -> int:
            return 3

    class Same(Receiver):
        pass

    one, two = Receiver(FULL), Receiver("cd" * 32)
    assert digest(one.method) == digest(Receiver(FULL).method)
    assert len({digest(one.method), digest(two.method), digest(one.other)}) == 3
    assert digest(Receiver.of) != digest(Same.of)


def cycle(value: object) -> tuple[Callable[..., object], Callable[..., object]]:
    def even(n: int) -> object:
        return value if n == 0 else odd(n - 1)

    def odd(n: int) -> object:
        return even(n - 1)

    return even, odd


def test_recursive_closures_end_and_differ_by_what_they_capture(scheme: str) -> None:
    (even, odd), (again, _) = cycle(1), cycle(1)
    assert digest(even) == digest(again)
    assert digest(even) != digest(odd)
    assert digest(cycle(1)[0]) != digest(cycle(2)[0])
    assert digest([even, even]) == digest([even, again])


def test_the_class_cell_counts_by_name(scheme: str) -> None:
    class Base:
        def who(self) -> object:
            return __class__  # type: ignore[name-defined]

    assert digest(Base.who) == digest(Base.who)
    assert digest_class(Base) == digest_class(Base) != digest_class(Plain)
    assert digest_class(int) == digest(int)


# --- never anything but Indigestible ---


def test_a_lone_surrogate_has_a_digest_of_its_own(scheme: str) -> None:
    assert len({digest("\ud800"), digest("\udfff"), digest("?"), digest("\ufffd")}) == 4
    assert digest({"\ud800": 1}) != digest({"?": 1})


def containing_itself() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


class Flags(enum.Flag):
    ONE = 1
    TWO = 2


class Endless:
    def __digest__(self) -> str:
        return digest(Endless())


class Failing:
    def __digest__(self) -> str:
        raise ValueError("no")


@dataclasses.dataclass
class Holey:
    x: object


def holey() -> Holey:
    record = Holey(1)
    del record.x
    return record


class Interrupted:
    def __digest__(self) -> str:
        raise KeyboardInterrupt


def failing_iteration() -> Iterator[int]:
    yield 1
    raise ValueError("broken")


@pytest.mark.parametrize(
    "make",
    [containing_itself, Endless, Failing, holey, failing_iteration],
    ids=["itself", "endless", "failing", "holey", "iteration"],
)
def test_whatever_goes_wrong_is_indigestible(scheme: str, make: Callable[[], object]) -> None:
    for value in (make(), [make()], {"k": make()}):
        with pytest.raises(Indigestible):
            digest(value)


def test_the_cause_of_a_failure_is_kept(scheme: str) -> None:
    with pytest.raises(Indigestible) as caught:
        digest([Failing()])
    assert isinstance(caught.value.__cause__, ValueError)


def test_interrupts_pass(scheme: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        digest([Interrupted()])


@pytest.mark.parametrize("value", [Flags.ONE, Flags.ONE | Flags.TWO, list[int]], ids=repr)
def test_what_yields_itself_without_end_is_indigestible(value: object) -> None:
    with pytest.raises(Indigestible):
        _core.digest(value, scheme="sha256")


def nest(levels: int, wrap: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(levels):
        value = wrap(value)
    return value


def unnest(value: Any) -> None:
    """Takes a deep nest apart, which the interpreter may not do on its stack."""
    while isinstance(value, list) and value:
        value = value.pop()


def test_a_million_levels_end_cleanly(scheme: str) -> None:
    value = nest(1_000_000, lambda inner: [inner])
    with pytest.raises(Indigestible):
        digest(value)
    unnest(value)


@pytest.mark.parametrize("levels", [8, 999, 5000])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: [v],
        lambda v: {1: v},
        lambda v: Holey(v),
        lambda v: lambda: v,
        lambda v: [v, v][:1],
    ],
    ids=["list", "dict", "record", "closure", "slice"],
)
def test_deep_nests_never_overflow_a_small_stack(
    scheme: str, levels: int, wrap: Callable[[object], object]
) -> None:
    results: list[object] = []

    def work() -> None:
        try:
            results.append(digest(nest(levels, wrap)))
        except Indigestible as error:
            results.append(error)

    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert len(results) == 1
    if levels == 8:
        assert isinstance(results[0], Digest)


def test_threads_digest_at_once(scheme: str) -> None:
    value = {"array": np.arange(100_000), "function": cycle(3)[0], "items": list(range(2000))}
    expected = digest(value)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: digest(value), range(64))) == {expected}


def test_an_array_that_is_written_to_meanwhile_is_no_crash(scheme: str) -> None:
    array = np.zeros(4_000_000, dtype="u1")
    done = threading.Event()

    def scribble() -> None:
        while not done.is_set():
            array[:] += 1

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        assert len(digest(array)) == 64
    finally:
        done.set()
        writer.join()


# --- __digest__ ---


def test_an_own_digest_counts_alone_and_inside(scheme: str) -> None:
    assert digest(Says(FULL)) == FULL
    assert digest([Says(FULL)]) == digest([Digest(FULL)])
    assert digest(Says(digest([1]))) == digest([1])


def test_an_own_digest_wins_over_everything_built_in(scheme: str) -> None:
    class Number(int):
        def __digest__(self) -> str:
            return FULL

    class Items(list[int]):
        @staticmethod
        def __digest__() -> str:
            return FULL

    @dataclasses.dataclass
    class Record:
        x: int

        @classmethod
        def __digest__(cls) -> str:
            return FULL

    for value in (Number(5), Items([1]), Record(1)):
        assert digest(value) == FULL
        assert digest([value]) == digest([Digest(FULL)])


def test_an_own_digest_is_looked_up_on_the_type(scheme: str) -> None:
    class Locked:
        def __reduce__(self) -> str:
            raise TypeError("no content")

    class Obliging(Locked):
        def __getattr__(self, name: str) -> Callable[[], str]:
            return lambda: FULL

    instance = Locked()
    instance.__digest__ = lambda: FULL  # type: ignore[attr-defined]
    for value in (instance, Obliging()):
        with pytest.raises(Indigestible):
            digest(value)


def test_of_a_function_the_instances_own_digest_counts(scheme: str) -> None:
    function = made(1)
    function.__digest__ = lambda: FULL  # type: ignore[attr-defined]
    assert digest(function) == digest(Says(digest(function)))
    assert digest(function) != digest(made(1))


@pytest.mark.parametrize("answer", [5, None, b"ab" * 32, [FULL]])
def test_an_own_digest_that_is_no_text_is_indigestible(scheme: str, answer: object) -> None:
    with pytest.raises(Indigestible, match="must return a digest"):
        digest([Says(answer)])


# --- hooks ---


@pytest.mark.usefixtures("hooks")
def test_a_hook_wins_over_own_digests_and_built_in_rules(scheme: str) -> None:
    add_hook(Hook(Says, lambda value: "cd" * 32))
    add_hook((dict, lambda value: "ef" * 32))
    assert digest(Says(FULL)) == "cd" * 32
    assert digest({"a": 1}) == "ef" * 32
    assert digest([{"a": 1}]) == digest([Digest("ef" * 32)])
    assert digest([1, "x"]) == _core.digest([1, "x"], scheme=scheme)


@pytest.mark.usefixtures("hooks")
def test_hooks_match_subclasses_and_the_newest_wins(scheme: str) -> None:
    class Sub(Plain):
        pass

    add_hook((Plain, lambda value: "11" * 32))
    assert digest(Sub()) == "11" * 32
    add_hook((Sub, lambda value: "22" * 32))
    assert digest(Sub()) == "22" * 32
    add_hook((object, lambda value: "33" * 32))
    assert digest(Sub()) == digest(Plain()) == "33" * 32


@pytest.mark.usefixtures("hooks")
def test_get_hooks_lists_the_newest_first() -> None:
    one, two = Hook(Plain, lambda value: FULL), Hook(Says, lambda value: FULL)
    add_hook(one)
    add_hook(two)
    add_hook((int, digest))
    assert get_hooks()[:3] == [Hook(int, digest), two, one]


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize(
    "hook",
    [7, None, (int,), (int, digest, 3), [int, digest], (5, digest), (int, 5), Hook(5, digest)],  # type: ignore[arg-type]
)
def test_what_is_no_hook_is_refused(hook: Any) -> None:
    with pytest.raises(ValueError, match="Must be a Hook instance or"):
        add_hook(hook)
    assert _core.manual_hooks() == []


@pytest.mark.usefixtures("hooks")
def test_a_hook_may_digest_and_register_hooks_itself(scheme: str) -> None:
    def of_plain(value: Plain) -> str:
        add_hook((Says, lambda value: FULL))
        return digest(["Plain"])

    add_hook((Plain, of_plain))
    assert digest([Plain()]) == digest([digest(["Plain"])])


@pytest.mark.usefixtures("hooks")
def test_a_hook_that_changes_the_container_is_no_crash(scheme: str) -> None:
    items: dict[object, object] = {}
    items.update({Plain(): 1, "k": 2})

    def change(value: Plain) -> str:
        items[len(items) + 100] = 1
        items.pop("k", None)
        return FULL

    add_hook((Plain, change))
    with contextlib.suppress(Indigestible):
        digest(items)


@pytest.mark.usefixtures("hooks")
def test_a_failing_hook_is_indigestible(scheme: str) -> None:
    def fail(value: object) -> str:
        raise RuntimeError("no")

    add_hook((Plain, fail))
    with pytest.raises(Indigestible) as caught:
        digest([Plain()])
    assert isinstance(caught.value.__cause__, RuntimeError)


# --- the choice of a scheme ---

PRINT = "from fleche import _core; print(_core.scheme())"


def test_exact_is_the_default(tmp_path: Path) -> None:
    assert in_another_process(PRINT, HOME=str(tmp_path)).strip() == "exact"


def test_the_environment_wins_over_the_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "fleche.toml").write_text('[default]\ndigest = "sha256"\n')
    before = _core.scheme()
    try:
        _core.set_scheme(None)
        assert _core.scheme() == "sha256"
        assert digest(1) == _core.digest(1, scheme="sha256")
        monkeypatch.setenv("FLECHE_DIGEST", "exact")
        assert _core.scheme() == "sha256"  # read once
        _core.set_scheme(None)
        assert _core.scheme() == "exact"
    finally:
        _core.set_scheme(before)


@pytest.mark.parametrize("from_file", [True, False])
def test_an_unknown_scheme_is_named_with_its_place_and_the_valid_ones(
    project: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
) -> None:
    if from_file:
        (project / "fleche.toml").write_text('[default]\ndigest = "md5"\n')
        place = "fleche.toml"
    else:
        monkeypatch.setenv("FLECHE_DIGEST", "md5")
        place = "FLECHE_DIGEST"
    before = _core.scheme()
    try:
        _core.set_scheme(None)
        for _ in range(2):
            with pytest.raises(ValueError, match=place) as caught:
                digest([1])
            assert "exact" in str(caught.value)
            assert "sha256" in str(caught.value)
    finally:
        _core.set_scheme(before)


def test_schemes_never_meet() -> None:
    for value in (1, "x", None, [1], {"a": 1}, b"", made(1), np.arange(3)):
        assert _core.digest(value, scheme="exact") != _core.digest(value, scheme="sha256")
    with pytest.raises(ValueError, match="choose"):
        _core.digest(1, scheme="md5")
    with pytest.raises(ValueError, match="choose"):
        _core.set_scheme("md5")


def test_typed_matters_in_scheme_exact_only() -> None:
    for value in ([1, 2.0], {"b": 1, "a": 2}, fractions.Fraction(1, 3), types.MappingProxyType({})):
        plain, typed = (_core.digest(value, typed=t, scheme="sha256") for t in (False, True))
        assert plain == typed
    assert _core.digest(1, scheme="exact") != _core.digest(1, typed=True, scheme="exact")


def test_scheme_sha256_consumes_iterators_and_exact_leaves_them() -> None:
    numbers = iter([1, 2])
    with pytest.raises(Indigestible):
        _core.digest(numbers, scheme="exact")
    assert list(numbers) == [1, 2]
    assert len(_core.digest(iter([1, 2]), scheme="sha256")) == 64


def test_an_iterator_is_not_digested_by_what_a_failure_left_of_it() -> None:
    numbers = iter([1, Plain(), 3])
    with pytest.raises(Indigestible):
        _core.digest(numbers, scheme="sha256")
