"""Scheme `sha256` against the reference itself, on generated values of every kind."""

from __future__ import annotations

from typing import Any

import oracle
import pytest
from arrays_and_frames import arrays, frames
from expressions import containers, leaves, source, values
from functions_and_calls import calls, functions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = [
    pytest.mark.usefixtures("sha256"),
    # Hypothesis writes strategies out, and these are long.
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]

#: Expressions an example; the number of examples is set so that a kind takes some seconds.
BATCH = 30


class Names(dict[str, Any]):
    """The prelude's names, which nobody wants to read in a failure."""

    def __repr__(self) -> str:
        return "names"


@pytest.fixture(scope="module")
def names() -> Names:
    return Names(oracle.namespace())


everything = st.recursive(leaves | arrays | frames | functions | calls, containers, max_leaves=4)


def batches(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(expressions, min_size=5, max_size=BATCH)


def compare(reference: Any, names: Names, expressions: list[str]) -> None:
    for expression, theirs in zip(expressions, reference.outcomes(expressions), strict=True):
        ours = oracle.outcome(names, expression)
        if theirs[0] in ("error", "no value"):
            # Where the reference fails with whatever went wrong, ours refuses or knows better.
            assert ours[0] != "error", (expression, ours, theirs)
        else:
            assert ours == theirs, (expression, ours, theirs)


compared = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)


@given(batches(leaves))
@compared
def test_leaves(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(values))
@compared
def test_nested_values(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(arrays))
@compared
def test_numpy_arrays(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(frames))
@settings(compared, max_examples=80)
def test_pandas(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(functions))
@compared
def test_functions(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(calls))
@compared
def test_calls_and_lookup_keys(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(batches(everything))
@settings(compared, max_examples=80)
def test_everything_in_everything(reference: Any, names: Names, expressions: list[str]) -> None:
    compare(reference, names, expressions)


@given(source(st.integers(0, 10_000)))
@settings(compared, max_examples=5)
@example("100_000")
def test_long_containers(reference: Any, names: Names, count: str) -> None:
    many = [f"list(range({count}))", f"{{str(i): i for i in range({count})}}", f"'x' * {count}"]
    many += [f"b'x' * {count}", f"np.arange({count})", f"np.arange({count})[::-1]"]
    compare(reference, names, many)
