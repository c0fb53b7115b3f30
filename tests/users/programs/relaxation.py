"""The relaxation of a strained crystal with ase's EMT, cached with its energy."""

import contextlib
import json
import sys

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from observed import drain, ran

from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.digest import Indigestible, digest


@fleche
def relaxed(atoms: Atoms, fmax: float = 0.05) -> tuple[Atoms, float]:
    ran("relaxed")
    atoms = atoms.copy()
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=fmax, steps=20)
    energy = float(atoms.get_potential_energy())
    atoms.calc = None
    return atoms, energy


@fleche
def energy(atoms: Atoms, calculator: Calculator) -> float:
    ran("energy")
    atoms = atoms.copy()
    atoms.calc = calculator
    return float(atoms.get_potential_energy())


def main(template: str, strain: str, order: str) -> None:
    if order == "late":
        # Only then are the hooks of installed packages looked for.
        with contextlib.suppress(Indigestible):
            digest(iter([]))
    crystal = bulk("Cu", cubic=True)
    crystal.positions[0] += float(strain)
    with cache(cache_from_config({"template": template, "root": template})):
        atoms, lowest = relaxed(crystal)
        energies = [lowest, energy(atoms, EMT())]
        held = relaxed.query(crystal).only().arguments["atoms"]
    print(json.dumps({"ran": drain(), "energies": energies, "same": bool(held == crystal)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
