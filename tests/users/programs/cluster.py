"""Cached calls on a dask cluster: hits and futures among the arguments of other tasks."""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor

from distributed import Client, LocalCluster, as_completed
from observed import drain
from steps import collected, doubled, plain

from fleche import cache, wrap_executor
from fleche.config import cache_from_config


def main(kind: str) -> None:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=kind == "processes",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as plain_client,
        Client(cluster) as client,
        cache(cache_from_config({"template": "pickle", "root": "store"})),
    ):
        wrap_executor(client)
        first = [client.submit(doubled, n) for n in (1, 2)]
        shown = [client.gather(first)]
        hits = [client.submit(doubled, n) for n in (1, 2)]
        shown += [client.gather(hits), sorted(done.result() for done in as_completed(hits))]
        shown += [client.submit(plain, hits[0]).result(), client.submit(plain, hits).result()]
        shown += client.gather(client.map(plain, hits))
        # A hit of dask's as an argument of a cached function, alone and inside of containers.
        shown += [client.submit(doubled, client.submit(plain, 3)).result()]
        shown += [client.submit(collected, [hits[0], {"a": (hits[1],)}]).result()]
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            # One of another executor's, finished or not, on this client and on one of the user's.
            hit = pool.submit(doubled, 1)
            shown += [client.submit(doubled, hit.result()).result()]
            shown += [one.submit(plain, [hit]).result() for one in (client, plain_client)]
            pending: Future[int] = Future()
            result = client.submit(doubled, pending)
            pending.set_result(1)
            shown += [result.result()]
    print(json.dumps({"ran": sorted(drain()), "shown": shown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
