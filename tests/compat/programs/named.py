"""Classes whose `__digest__` says a short text, as in the reference's tutorial."""

from dataclasses import dataclass
from typing import Any

from observed import Log, drain, outcome, ran, report

from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.digest import Digest


class Model:
    def __init__(self, number: int) -> None:
        self.number = number

    def __digest__(self) -> Digest:
        return Digest(str(self.number))


@dataclass
class Sample:
    model: Model
    size: float


@fleche
def fitted(model: Any, start: float = 0.5) -> list[str]:
    ran("fitted", type(model).__name__, start)
    return [type(model).__name__]


def main() -> None:
    log, document = Log(), dict[str, Any]()
    models = [Model(10), Model(11), Model(12345), Model(10)]
    arguments = [*models, [models[0], 1], Sample(models[1], 1.5), {"a": (models[2],)}]
    configs = [
        {"template": "pickle", "root": "store/files"},
        {"template": "sql", "root": "store/database", "values": "pickle"},
    ]
    for config in configs:
        with cache(cache_from_config(config)):
            document[config["template"]] = [
                {
                    "outcome": outcome(fitted, argument),
                    "contained": fitted.contains(argument),
                    "queried": fitted.query(argument).count(),
                }
                for argument in arguments
            ]
    report({"computed": drain(), "warnings": log.drain(), **document})


if __name__ == "__main__":
    main()
