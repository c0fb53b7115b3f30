"""An interrupt in code of the user's own, wherever the package calls it, ends the call: it is no
failure to warn of."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, fleche, tags
from fleche.caches import Cache
from fleche.digest import Digest, add_hook, digest
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
)

STORES: dict[str, Callable[[Path], Cache]] = {
    "memory": lambda _: Cache(ValueMemory({}), CallMemory({})),
    "pickle": lambda at: Cache(ValuePickleFile(at / "values"), CallPickleFile(at / "calls")),
    "signed": lambda at: Cache(
        ValuePickleFile(at / "values", secret_key=b"key", compress=True),
        CallPickleFile(at / "calls", secret_key=b"key"),
    ),
    "cloudpickle": lambda at: Cache(
        ValuePickleFile(at / "values", serializer="cloudpickle"),
        CallPickleFile(at / "calls", serializer="cloudpickle"),
    ),
    "sqlite": lambda at: Cache(ValuePickleFile(at / "values"), Sql(at / "calls.db")),
    "bag": lambda at: Cache(
        ValueBagOfHoldingH5File(at / "values"), CallBagOfHoldingH5File(at / "calls")
    ),
}


class Interrupted(BaseException):
    """As `KeyboardInterrupt`, which pytest takes for its own where a test fails."""


class Armed:
    """What interrupts in the method that is named, once it is."""

    at = ""

    def reach(self, name: str) -> None:
        if Armed.at == name:
            raise Interrupted(name)

    def __digest__(self) -> Digest:
        self.reach("__digest__")
        return digest("Armed")

    def __reduce__(self) -> tuple[type, tuple[()]]:
        self.reach("__reduce__")
        return Armed, ()

    def __deepcopy__(self, memo: object) -> Armed:
        self.reach("__deepcopy__")
        return Armed()

    def __init__(self) -> None:
        self.reach("__init__")


class Tag(dict[str, Any]):
    """Metadata that interrupts while it is written."""

    def items(self) -> Any:
        if Armed.at == "metadata":
            raise Interrupted("metadata")
        return super().items()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if Armed.at == "metadata":
            raise Interrupted("metadata")
        return dict, (dict(self),)

    def __deepcopy__(self, memo: object) -> Tag:
        if Armed.at == "metadata":
            raise Interrupted("metadata")
        return Tag(self)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    hooks = _core.manual_hooks()
    yield
    Armed.at = ""
    _core.set_manual_hooks(hooks)


@fleche
def kept(x: Any) -> list[Any]:
    return [x, 1]


def copies(kind: str) -> bool:
    return kind == "memory"


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("at", ["__digest__", "save", "metadata"])
def test_while_a_call_is_saved(kind: str, at: str, tmp_path: Path) -> None:
    with cache(STORES[kind](tmp_path)), tags(about=Tag(a=1)):
        Armed.at = at if at != "save" else "__deepcopy__" if copies(kind) else "__reduce__"
        with pytest.raises(Interrupted):
            kept(Armed())
        Armed.at = ""
        assert not kept.contains(Armed())
        kept(Armed())
        assert kept.contains(Armed())


@pytest.mark.parametrize("kind", STORES)
def test_while_a_result_is_loaded(kind: str, tmp_path: Path) -> None:
    with cache(STORES[kind](tmp_path)):
        value = Armed()
        kept(value)
        Armed.at = "__deepcopy__" if copies(kind) else "__init__"
        with pytest.raises(Interrupted):
            kept(value)
        with pytest.raises(Interrupted):
            kept.query().only().arguments["x"]
        with pytest.raises(Interrupted):
            list(kept.query().results())


def test_in_a_hook() -> None:
    class Other:
        pass

    def hook(value: Any) -> Digest:
        raise Interrupted("hook")

    add_hook((Other, hook))
    for value in (Other(), [Other()], {"a": Other()}):
        with pytest.raises(Interrupted):
            kept(value)


class Interrupting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", ["pickle", "signed", "sqlite"])
def test_while_the_core_tells_of_damage(kind: str, tmp_path: Path) -> None:
    with cache(STORES[kind](tmp_path)):
        kept(1)
    for file in (tmp_path / "values").glob("[0-9a-f]*"):
        file.write_bytes(b"damaged")
    handler = Interrupting()
    logging.getLogger("fleche").addHandler(handler)
    try:
        with cache(STORES[kind](tmp_path)), pytest.raises(KeyboardInterrupt):
            kept(1)
    finally:
        logging.getLogger("fleche").removeHandler(handler)
