"""`fleche.state`: what is active, where, and for how long."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from fleche import state
from fleche.caches import Cache, CacheStack
from fleche.metadata import Environment, Runtime, Tags
from fleche.state import BoundWrapper, cache, get_cache, get_metadata, meta, project, tags
from fleche.storage import CallMemory, ValueMemory


def memory() -> Cache:
    return Cache(ValueMemory({}), CallMemory({}))


def in_thread(function: Callable[[], Any]) -> Any:
    """What `function` gives in a thread, where nothing is set."""
    given: list[Any] = []
    thread = threading.Thread(target=lambda: given.append(function()))
    thread.start()
    thread.join()
    return given[0]


class TestCache:
    def test_set_at_once_and_sticky(self) -> None:
        a, b = memory(), memory()

        def body() -> None:
            cache(a)
            assert cache() is a
            cache(b)
            assert cache() is b

        copy_context().run(body)

    def test_with_restores(self) -> None:
        a, b = memory(), memory()
        with cache(a):
            with cache(b) as given:
                assert given is None
                assert cache() is b
            assert cache() is a

    def test_with_restores_after_an_exception(self) -> None:
        a, b = memory(), memory()
        with cache(a):
            with pytest.raises(KeyError), cache(b):
                raise KeyError
            assert cache() is a

    def test_leaving_twice_is_an_error(self) -> None:
        context = cache(memory())
        context.__exit__(None, None, None)
        with pytest.raises(RuntimeError):
            context.__exit__(None, None, None)

    def test_by_name(self, project: Path) -> None:
        (project / "fleche.toml").write_text("[m]\ntemplate = 'memory'\nmax_size = 3\n")
        with cache("m"):
            first = cache()
            assert first.max_size == 3
        with cache("m"):
            assert cache() is first

    def test_stack_puts_the_new_one_first(self) -> None:
        a, b, c = memory(), memory(), memory()
        with cache(a), cache(b, stack=True):
            assert cache() == CacheStack((b, a))
            with cache(c, True):
                assert list(map(id, cache().stack)) == [id(c), id(b), id(a)]
        with cache(a), pytest.raises(ValueError, match="nested"):
            cache(CacheStack((b, c)), stack=True)

    @pytest.mark.parametrize("wrong", [3, {"template": "memory"}, [], ValueMemory({}), Cache, b"m"])
    def test_anything_else_is_refused(self, wrong: Any) -> None:
        with cache(a := memory()):
            with pytest.raises(ValueError, match=type(wrong).__name__):
                cache(wrong)
            assert cache() is a

    def test_the_error_shows_no_secret(self) -> None:
        with pytest.raises(ValueError, match="cache_from_config") as caught:
            cache({"secret_key": ["c0ffee"]})  # type: ignore[call-overload]
        assert "c0ffee" not in str(caught.value)

    def test_threads_and_contexts_are_independent(self, project: Path) -> None:
        with cache(a := memory()):
            assert in_thread(get_cache) is not a
            assert copy_context().run(get_cache) is a
            assert Context().run(get_cache) is not a


class TestDefault:
    def test_loaded_once_for_all_threads(self, project: Path) -> None:
        barrier = threading.Barrier(8)
        seen: list[Any] = []

        def look() -> None:
            barrier.wait()
            seen.append(get_cache())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(one) for one in seen}) == 1
        assert state._DEFAULTS["cache"] is seen[0]

    def test_configured(self, project: Path) -> None:
        (project / "fleche.toml").write_text(
            "[default]\ncache = 'c'\nmetadata = ['Environment', 'Runtime']\n"
            "[c]\ntemplate = 'memory'\nread_only = true\n"
        )
        assert type(in_thread(get_cache)).__name__ == "ReadOnlyCache"
        assert [type(m) for m in in_thread(get_metadata)] == [Environment, Runtime]

    def test_a_failed_load_is_tried_again(self, project: Path) -> None:
        file = project / "fleche.toml"
        file.write_text("[default]\ncache = 'c'\n[c]\ntemplate = 'nope'\n")
        for _ in range(2):
            with pytest.raises(ValueError, match="Unknown cache template"):
                Context().run(get_cache)
        file.write_text("[default]\ncache = 'c'\n[c]\ntemplate = 'memory'\n")
        assert type(Context().run(get_cache)) is Cache

    def test_what_stands_in_is_said(self, project: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "fleche.config"):
            first = Context().run(get_cache)
        assert "no config file found" in caplog.text
        assert Context().run(cache) is first

    def test_nothing_is_read_before_the_first_use(self, tmp_path: Path) -> None:
        (tmp_path / "fleche.toml").write_text("[broken")
        script = (
            "import fleche, fleche.state, fleche.config, fleche.executor\n"
            "@fleche.fleche\n"
            "def f(x): return x\n"
            "print('imported', flush=True)\n"
            "fleche.cache()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == "imported\n"
        assert "fleche.toml" in done.stderr


class TestMetadata:
    def test_replaces_and_restores(self) -> None:
        with meta(Environment()) as given:
            assert given is None
            assert [type(m) for m in get_metadata()] == [Environment]
            with meta():
                assert get_metadata() == ()

    def test_stack_appends(self) -> None:
        with meta(Environment()), meta(Runtime(), Runtime(), stack=True):
            assert [type(m) for m in get_metadata()] == [Environment, Runtime, Runtime]

    def test_tags_add_to_the_active_ones(self) -> None:
        with meta(), tags(a=1), tags(a=2, b="x"):
            assert get_metadata() == (Tags({"a": 1}), Tags({"a": 2, "b": "x"}))

    def test_tags_of_any_name(self) -> None:
        with meta(), tags(name="n", self=1, stack=True):
            assert get_metadata()[0].tags == {"name": "n", "self": 1, "stack": True}

    def test_project(self) -> None:
        with meta(), project("p"):
            assert get_metadata() == (Tags({"project": "p"}),)

    def test_sticky_too(self) -> None:
        def body() -> tuple[Any, ...]:
            meta()
            project("p")
            return get_metadata()

        assert copy_context().run(body) == (Tags({"project": "p"}),)

    def test_default_is_runtime(self, project: Path) -> None:
        assert [type(m) for m in Context().run(get_metadata)] == [Runtime]


def active() -> tuple[Any, Any]:
    return get_cache(), get_metadata()


class TestBoundWrapper:
    def test_carries_what_was_active(self) -> None:
        with cache(a := memory()), meta(tag := Tags({"a": 1})):
            bound = BoundWrapper.bind(active)
        assert bound == BoundWrapper(active, a, (tag,))
        with cache(b := memory()):
            assert bound() == (a, (tag,))
            assert in_thread(bound) == (a, (tag,))
            assert cache() is b

    def test_restores_after_an_exception(self) -> None:
        def fail() -> None:
            raise KeyError

        with cache(a := memory()):
            with pytest.raises(KeyError):
                BoundWrapper(fail, memory(), ())()
            assert cache() is a

    def test_passes_arguments(self) -> None:
        bound = BoundWrapper(lambda *a, **k: (a, k), memory(), ())
        assert bound(1, self=2, func=3) == ((1,), {"self": 2, "func": 3})

    def test_frozen(self) -> None:
        bound = BoundWrapper(active, memory(), ())
        with pytest.raises(FrozenInstanceError):
            bound.func = len  # type: ignore[misc]

    def test_pickles(self) -> None:
        bound = BoundWrapper(len, memory(), (Tags({"a": 1}),))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(bound, protocol))
            assert again == bound
            assert again([1, 2]) == 2
