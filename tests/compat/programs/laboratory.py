"""The cached functions of the programs, in a module that workers can import."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import observed

from fleche import Ignored, Required, fleche
from fleche.metadata import Tags


@dataclass
class Material:
    name: str
    density: float
    layers: list[int]


class Opaque:
    """Nothing that has a digest, in either scheme."""

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle an Opaque")

    def __repr__(self) -> str:
        return "Opaque()"


@fleche
def energy(temperature: float, pressure: float = 1.5, *, steps: int = 3) -> dict[str, Any]:
    observed.ran("energy", temperature, pressure, steps)
    trace = [temperature * pressure / step for step in range(1, steps + 1)]
    return {"mean": sum(trace) / steps, "trace": trace, "label": f"T{temperature}"}


@fleche
def total(temperatures: list[float]) -> float:
    observed.ran("total", temperatures)
    return sum(energy(temperature)["mean"] for temperature in temperatures)


@fleche(version="1.2", meta=[Tags({"kind": "fit"})], ignore="verbose")
def fit(points: Any, degree: int, verbose: bool = False) -> Any:
    observed.ran("fit", points.tolist(), degree)
    return points**degree


@fleche
def describe(material: Material, *notes: str, label: Ignored[str] = "", **more: int) -> str:
    observed.ran("describe", material, notes, sorted(more.items()))
    return f"{material.name} {material.density * sum(material.layers)} {notes} {sorted(more)}"


@fleche
def sample(size: int, *, seed: Required[int] = 0) -> list[int]:
    observed.ran("sample", size, seed)
    return [(seed * 7919 + number) % 101 for number in range(size)]


@fleche
def grow(items: list[int]) -> int:
    observed.ran("grow", items)
    items.append(0)
    return len(items)


@fleche
def scaled(values: Any, factor: float) -> Any:
    observed.ran("scaled", factor)
    return np.asarray([value * factor for value in values["trace"]])


@fleche
def nothing(number: int) -> None:
    observed.ran("nothing", number)


@fleche
def fails(number: int) -> int:
    observed.ran("fails", number)
    raise ZeroDivisionError(number)
