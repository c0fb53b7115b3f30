"""Packages that use the API find what they computed, in another process too."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

import fleche
from fleche import _core

from .conftest import Run


def test_ours_is_what_they_use() -> None:
    assert _core.VERSION == metadata.version("fleche") == fleche.__version__
    assert Path(fleche.__file__).is_relative_to(Path(__file__).parents[2])


@pytest.mark.parametrize("template", ["pickle", "cloudpickle"])
def test_relaxed_atoms(run: Run, template: str) -> None:
    first = run("relaxation", template, "0.02", "early")
    assert first["ran"] == ["relaxed", "energy"]
    assert run("relaxation", template, "0.02", "late") == {**first, "ran": []}
    other = run("relaxation", template, "0.03", "early")
    assert other["ran"] == ["relaxed", "energy"]
    assert other["energies"] != first["energies"]


@pytest.mark.parametrize(
    ("name", "template"), [("models_of_a_module", "pickle"), ("models", "cloudpickle")]
)
def test_pydantic_models(run: Run, name: str, template: str) -> None:
    first = run(name, template)
    assert first["ran"] == first["calls"]
    assert first["same"] == [True] * len(first["same"])
    assert run(name, template) == {**first, "ran": []}


def test_workflows(run: Run) -> None:
    first = run("workflow")
    assert first["ran"] == ["doubled 3", "summed 6 1"]
    assert set(map(str, first["results"])) == {"7"}
    assert run("workflow") == {**first, "ran": []}


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_dask(run: Run, kind: str) -> None:
    first = run("cluster", kind)
    assert first["ran"] == ["doubled 1", "doubled 2", "doubled ['plain', 3]", "summed"]
    assert run("cluster", kind) == {**first, "ran": []}


def test_executorlib(run: Run) -> None:
    first = run("single_node")
    assert first["ran"] == ["doubled 3", "doubled 6", "summed"]
    assert run("single_node") == {**first, "ran": []}
