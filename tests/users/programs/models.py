"""Pydantic models as arguments and results."""

import json
import sys
from typing import Any, Generic, TypeVar

import numpy as np
from observed import drain, ran
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.dataclasses import dataclass

from fleche import cache, fleche
from fleche.config import cache_from_config

T = TypeVar("T")


class Settings(BaseModel):
    steps: int = 3
    names: list[str] = Field(default_factory=list)
    _seen: int = PrivateAttr(default=0)


class Frozen(BaseModel, frozen=True):
    settings: Settings
    factor: float = 1.5


class Box(BaseModel, Generic[T]):
    content: T


class IntBox(Box[int]):
    pass


class TextBox(Box[str]):
    pass


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    array: np.ndarray


@dataclass
class Record:
    settings: Settings
    number: int = 1


def models(template: str) -> list[Any]:
    # Generic classes of a script come back from `cloudpickle` as other classes of that name.
    generic = [IntBox(content=1), TextBox(content="1")] if template == "pickle" else []
    return [
        *generic,
        Settings(),
        Settings(steps=4),
        Settings(names=["a"]),
        Frozen(settings=Settings(steps=5)),
        Frozen(settings=Settings(steps=5), factor=2.5),
        Loose(array=np.arange(3.0), more=[1]),
        Record(Settings(), 2),
        [Settings(steps=7), {"key": Settings(steps=8)}],
    ]


@fleche
def passed(number: int, model: Any) -> Any:
    ran(f"passed {number}")
    return model


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Loose):
        return bool(np.array_equal(one.array, other.array)) and one.more == other.more
    return bool(one == other)


def main(template: str) -> None:
    with cache(cache_from_config({"template": template, "root": template})):
        same = []
        for number, model in enumerate(models(template)):
            result = passed(number, model)
            same += [equal(result, model), type(result) is type(model)]
        # The very same models once more, and others that are equal to them.
        for number, model in enumerate(models(template)):
            same += [equal(passed(number, model), model), passed.contains(number, model)]
        same.append(not passed.contains(0, Settings(steps=99)))
        same.append(passed.query(model=Settings(steps=4)).count() == 1)
    calls = [f"passed {number}" for number in range(len(models(template)))]
    print(json.dumps({"ran": drain(), "calls": calls, "same": same}))


if __name__ == "__main__":
    main(*sys.argv[1:])
