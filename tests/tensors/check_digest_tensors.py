"""Digests of torch's tensors and jax's arrays: `nox -s tensors` installs both and runs this.

The packages are too large to be part of every test run.
"""

from __future__ import annotations

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fleche import _core
from fleche.digest import Digest, Indigestible


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


arrays = st.sampled_from(["f4", "f8", "i4", "u1", "?", "c8"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=5))
)


@given(arrays)
def test_tensors_count_by_content(array: Any) -> None:
    tensor = torch.tensor(array)
    assert digest(tensor) == digest(tensor.clone()) == digest(pickle.loads(pickle.dumps(tensor)))
    assert digest(tensor) == digest(tensor, True)
    if tensor.ndim:
        assert digest(tensor.mT if tensor.ndim > 1 else tensor[:]) == digest(
            (tensor.mT if tensor.ndim > 1 else tensor[:]).contiguous()
        )
        assert digest(tensor) != digest(tensor[None])
    assert digest(tensor) != digest(array)


def test_every_part_of_a_tensor_counts() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    changed = tensor.clone()
    changed[2, 3] = 0
    others = [
        tensor.T,
        tensor.reshape(4, 3),
        tensor.double(),
        tensor.half(),
        tensor.bfloat16(),
        changed,
        tensor[:2],
        tensor.clone().requires_grad_(),
        torch.nn.Parameter(tensor),
        tensor.numpy(),
    ]
    assert len({digest(value) for value in [tensor, *others]}) == 1 + len(others)
    assert digest(tensor[::2]) == digest(tensor[::2].clone())
    assert digest(torch.tensor([1 + 2j]).conj()) == digest(torch.tensor([1 - 2j]))
    assert digest(torch.zeros(2000, 2000)) == digest(torch.zeros(2000, 2000))


def test_tensors_elsewhere_are_indigestible() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    for value in (tensor.to_sparse(), tensor.to("meta")):
        with pytest.raises(Indigestible, match="torch"):
            digest([value])


def test_kinds_of_torch() -> None:
    kinds = [torch.float32, torch.float64, torch.device("cpu"), torch.Size([1, 2])]
    assert len({digest(kind) for kind in kinds}) == len(kinds)


@given(arrays.filter(lambda array: array.dtype != "f8"))
def test_jax_arrays_count_by_content(array: Any) -> None:
    one, other = jnp.array(array), jnp.array(array)
    assert digest(one) == digest(other) == digest(one, True)
    assert digest(one) != digest(np.asarray(one))


def test_every_part_of_a_jax_array_counts() -> None:
    array = jnp.arange(12.0).reshape(3, 4)
    others = [
        array.T,
        array.reshape(4, 3),
        array.astype("bfloat16"),
        array.astype("float16"),
        array.at[2, 3].set(0),
        jnp.asarray(1.0),
        jnp.array(1.0, dtype="float32"),
    ]
    assert len({digest(value) for value in [array, *others]}) == 1 + len(others)


def test_keys_of_random_numbers() -> None:
    assert digest(jax.random.key(1)) == digest(jax.random.key(1)) != digest(jax.random.key(2))
    assert digest(jax.random.key(1)) != digest(jax.random.PRNGKey(1))


def test_arrays_that_are_being_traced_are_indigestible() -> None:
    def trace(value: Any) -> Any:
        with pytest.raises(Indigestible):
            digest(value)
        return value

    jax.jit(trace)(jnp.ones(3))


def test_small_floats() -> None:
    array = np.ones(3, dtype=jnp.bfloat16)
    assert digest(array) == digest(array.copy()) != digest(array.view("u2"))
    assert digest(array[0]) == digest(1)
    assert digest(array[0], True) != digest(1, True)
