"""Cached calls on an executor of executorlib."""

import json

from executorlib import SingleNodeExecutor
from observed import drain
from steps import collected, doubled, plain

from fleche import cache, wrap_executor
from fleche.config import cache_from_config


def main() -> None:
    with (
        cache(cache_from_config({"template": "pickle", "root": "store"})),
        wrap_executor(SingleNodeExecutor(max_workers=1)) as pool,
    ):
        first = pool.submit(doubled, 3)
        second = pool.submit(doubled, first)
        last = pool.submit(collected, [first, (second,)])
        shown = [first.result(), second.result(), last.result()]
        hit = pool.submit(doubled, 3, resource_dict={"cores": 1})
        shown += [hit.done(), pool.submit(plain, hit).result()]
    print(json.dumps({"ran": drain(), "shown": shown}))


if __name__ == "__main__":
    main()
