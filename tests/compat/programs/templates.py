"""The same calls in a store of each template."""

from typing import Any

import numpy as np
from laboratory import Material, describe, energy, fit, scaled, total
from observed import Log, drain, outcome, report

from fleche import cache
from fleche.config import cache_from_config

TEMPLATES = ("pickle", "cloudpickle", "dill", "bagofholding_hdf", "sql")


def seen(template: str) -> dict[str, Any]:
    store = cache_from_config({"template": template, "root": f"store/{template}"})
    with cache(store):
        outcomes = [outcome(energy, 100.5 + step) for step in range(3)]
        outcomes += [
            outcome(describe, Material("steel", 7.5, [1, 2, 3]), "hot", alpha=1),
            outcome(total, [1.5, 2.5, 3.5]),
            outcome(scaled, {"trace": [1.5, 2.5]}, 2.5),
            outcome(fit, np.arange(6.0).reshape(2, 3), 2),
        ]
    found = store.query(name="energy")
    return {
        "outcomes": outcomes,
        "energies": sorted(result["mean"] for result in found.results()),
        "calls": store.query().count(),
        "garbage": len(store.gc()),
    }


def main() -> None:
    log = Log()
    document = {template: seen(template) for template in TEMPLATES}
    report({"computed": drain(), "warnings": log.drain(), **document})


if __name__ == "__main__":
    main()
