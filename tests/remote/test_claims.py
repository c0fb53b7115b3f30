"""`@fleche(once=True)` on caches that are served from another machine."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fleche import cache, fleche

from .conftest import Remote


def test_one_client_computes(remote: Remote) -> None:
    begun, go_on, runs = threading.Event(), threading.Event(), []

    @fleche(hash_code=False, once=True)
    def f(x: int) -> Any:
        runs.append(x)
        begun.set()
        assert go_on.wait(60)
        return [x]

    def call(held: Any) -> Any:
        with cache(held):
            return f(1)

    clients = [remote.cache() for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        callers = [pool.submit(call, client) for client in clients * 2]
        assert begun.wait(60)
        with cache(clients[0]):
            # Not the server, but who asked it.
            assert f.running(1).holder.process == os.getpid()
        go_on.set()
        assert [caller.result(60) for caller in callers] == [[1]] * 6
    assert runs == [1]
    with cache(clients[0]):
        assert f.running(1) is None


def test_a_client_that_is_gone_computes_no_longer(remote: Remote) -> None:
    first, second = remote.cache(), remote.cache()
    claim = first._claims().take("ab" * 32)
    assert claim is not None
    assert second._claims().take("ab" * 32) is None
    first.close()
    taken = second._claims().take("ab" * 32, 30)
    while taken is None:
        taken = second._claims().take("ab" * 32, 30)
    assert taken.dead is not None
    assert taken.dead.process == os.getpid()
    taken.release()
    claim.release()
