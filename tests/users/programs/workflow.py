"""Nodes of pyiron_workflow that call cached functions, with executors of each kind."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from observed import drain
from pyiron_workflow import ExecutorInstructions, RunConfig, node, run
from steps import chain, doubled

from fleche.config import cache_from_config


def main() -> None:
    config = RunConfig(fleche_cache=cache_from_config({"template": "cloudpickle", "root": "store"}))
    executors = [
        None,
        ExecutorInstructions(ThreadPoolExecutor),
        ExecutorInstructions(ProcessPoolExecutor, kwargs={"max_workers": 1}),
    ]
    results = []
    for executor in executors:
        step = node(chain)
        step.executor = executor
        [port] = run(step, config, x=3).result.output_ports.values()
        results.append(port.value)
    [port] = run(node(doubled), config, x=3).result.output_ports.values()
    results.append(port.value + 1)
    print(json.dumps({"ran": drain(), "results": results}))


if __name__ == "__main__":
    main()
