"""Fixtures for the tests of programs that cache: loaded by pytest wherever fleche is installed.

`fleche_cache` is an empty cache, active as long as a test runs; `fleche_hits` fails a test in which
a call is computed that should be in the cache. It may import everything.

>>> def test_the_second_call_hits(fleche_cache, fleche_hits):
...     simulate(3)
...     with fleche_hits(simulate):
...         simulate(3)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["fleche_cache", "fleche_hits"]

#: What `fleche_hits` gives: a context for functions, or for all if none is named.
Hits: TypeAlias = Callable[..., Any]


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers",
        "fleche_cache(template='memory', **settings): what cache the fixture of that name gives, "
        "as a table of fleche.toml; roots are below the test's own folder",
    )


@pytest.fixture
def fleche_cache(request: pytest.FixtureRequest) -> Iterator[BaseCache]:
    """An empty cache, active while the test runs; in memory, unless the marker says otherwise.

    `@pytest.mark.fleche_cache(template="pickle")` makes one in the test's `tmp_path`.
    """
    from fleche.config import cache_from_config
    from fleche.state import cache

    marker = request.node.get_closest_marker("fleche_cache")
    settings: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    settings.setdefault("template", "memory")
    if settings["template"] != "memory":
        folder = request.getfixturevalue("tmp_path")
        settings["root"] = str(folder / settings.get("root", "fleche"))
    held = cache_from_config(settings)
    with cache(held):
        yield held


@pytest.fixture
def fleche_hits() -> Hits:
    """A context in which a call that is computed fails the test, and says why it was no hit.

    `fleche_hits(f, g)` is about these functions, `fleche_hits()` about all.
    """
    return _only_hits


@contextlib.contextmanager
def _only_hits(*functions: Any) -> Iterator[None]:
    from fleche.events import Event, Miss, Uncached, subscribe

    wanted = [_name_of(function) for function in functions]
    computed: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Miss | Uncached):
            name = event.module, event.function
            if not wanted or name in wanted or (None, event.function) in wanted:
                computed.append(_said(event))

    with subscribe(note):
        yield
    if computed:
        pytest.fail(
            f"{len(computed)} of the calls should have been in the cache:\n  "
            + "\n  ".join(dict.fromkeys(computed)),
            pytrace=False,
        )


def _name_of(function: Any) -> tuple[str | None, str]:
    try:
        calls = function.fleche.call._calls
    except AttributeError:
        raise TypeError(
            f"fleche_hits takes functions that @fleche decorates, not {function!r}"
        ) from None
    name, module = calls.named()
    return module, name


def _said(event: Any) -> str:
    from fleche.events import Uncached

    function = event.function if event.module is None else f"{event.module}.{event.function}"
    if isinstance(event, Uncached):
        return f"{function} ran without a cache: {event.reason}"
    return f"{function} was computed; {event.function}.explain(...) says why"
