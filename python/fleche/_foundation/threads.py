"""Threads of ours, which end before a fork."""

from __future__ import annotations

import os
import time

__all__ = ["await_system"]


def await_system(number: int | None) -> None:
    """Wait until the system, too, knows no more of a thread that has ended.

    Args:
        number: its number there; `None`: it was never started.
    """
    path = f"/proc/self/task/{number}"
    end = time.monotonic() + 0.1
    while os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.0002)
