"""Objects of libraries have digests without a hook, and come back as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ase
import networkx as nx
import numpy as np
import pydantic
import pytest
import sympy
from ase.build import bulk
from scipy.interpolate import CubicSpline
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.digest import digest

X, Y = np.arange(10.0).reshape(5, 2), np.arange(5.0)

exact = pytest.mark.skipif(
    os.environ.get("FLECHE_DIGEST") == "sha256", reason="scheme sha256 refuses plain objects"
)


class Person(pydantic.BaseModel):
    name: str
    tags: list[str] = []


class Animal(pydantic.BaseModel):
    name: str
    tags: list[str] = []


def strained(strain: float) -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
    return atoms


def graph(weight: float) -> nx.Graph:
    made = nx.Graph(name="g")
    made.add_edge("a", "b", weight=weight)
    made.add_edge("b", "c")
    return made


def used_graph(weight: float) -> nx.Graph:
    made = graph(weight)
    assert list(made.edges(data=True))
    assert made.adj["a"]
    return made


MAKERS: dict[str, Callable[[Any], Any]] = {
    "atoms": strained,
    "symbols": lambda x: sympy.Symbol("x") ** sympy.Float(x) + sympy.sin(sympy.Symbol("y")),
    "function": lambda x: sympy.Function("f")(sympy.Float(x)),
    "graph": graph,
    "used graph": used_graph,
    "estimator": lambda x: Ridge(alpha=x),
    "fitted estimator": lambda x: Ridge(alpha=x).fit(X, Y),
    "pipeline": lambda x: make_pipeline(StandardScaler(), Ridge(alpha=x)).fit(X, Y),
    "forest": lambda x: RandomForestRegressor(3, random_state=round(9 * x)).fit(X, Y),
    "spline": lambda x: CubicSpline(np.arange(5.0), np.arange(5.0) ** x),
    "polynomial": lambda x: np.polynomial.Polynomial([1, x]),
    "model": lambda x: Person(name=str(x), tags=["a"]),
}


@exact
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_content_counts(make: Callable[[Any], Any]) -> None:
    assert digest(make(0.25)) == digest(make(0.25)) != digest(make(0.75))
    assert digest({"a": [make(0.25)]}) != digest({"a": [make(0.75)]})


@exact
def test_models_of_two_classes_differ() -> None:
    assert digest(Person(name="Lee")) != digest(Animal(name="Lee"))
    assert digest(Person(name="Lee").model_copy()) == digest(Person(name="Lee"))


@exact
@pytest.mark.parametrize("template", ["memory", "pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_they_are_cached(make: Callable[[Any], Any], template: str, tmp_path: Any) -> None:
    ran: list[Any] = []

    @fleche
    def same(value: Any) -> Any:
        ran.append(value)
        return value

    config = {"template": template, **({} if template == "memory" else {"root": str(tmp_path)})}
    with cache(cache_from_config(config)):
        value = make(0.25)
        same(value)
        loaded = same(make(0.25))
        assert len(ran) == 1
        assert type(loaded) is type(value)
        assert digest(loaded, typed=True) == digest(value, typed=True)
