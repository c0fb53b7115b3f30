"""What a claim is, and what a store of claims has to offer."""

from __future__ import annotations

import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Claim", "Claims", "Holder", "Unclaimable"]


class Unclaimable(Exception):
    """Nothing can be claimed in this store.

    Args:
        text: why.
        is_told: whether that is told anyway, when the result cannot be saved either.
    """

    def __init__(self, text: str, is_told: bool = False) -> None:
        super().__init__(text)
        self.is_told = is_told


@dataclass(frozen=True)
class Holder:
    """Who computes a call.

    Args:
        host: the name of the machine.
        process: the number of the process there.
        thread: the name of the thread.
        since: when it began, in seconds since 1970, by the clock of that machine.
        waits_for: the key of the call for which it waits itself, if it does.
    """

    host: str
    process: int
    thread: str
    since: float
    waits_for: str | None = None

    @classmethod
    def here(cls) -> Holder:
        """This thread, from now on."""
        name = threading.current_thread().name
        return cls(socket.gethostname(), os.getpid(), name, time.time())

    def to_json(self) -> dict[str, Any]:
        """As values that JSON has.

        >>> Holder.from_json(Holder("n1", 7, "MainThread", 1.5).to_json())
        Holder(host='n1', process=7, thread='MainThread', since=1.5, waits_for=None)
        """
        return asdict(self)

    @classmethod
    def from_json(cls, held: Any) -> Holder | None:
        """What `to_json` gave; `None` if it is something else."""
        try:
            waits_for = held["waits_for"]
            return cls(
                str(held["host"]),
                int(held["process"]),
                str(held["thread"]),
                float(held["since"]),
                None if waits_for is None else str(waits_for),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} ({self.thread})"


class Claim(ABC):
    """A call that is this thread's to compute, until it is released.

    Args:
        dead: who held it before and died.
    """

    def __init__(self, dead: Holder | None = None) -> None:
        self.dead = dead

    @abstractmethod
    def wait_for(self, key: str | None) -> None:
        """Have others see that who computes it waits for another call, or no longer does."""

    @abstractmethod
    def release(self) -> None:
        """Give it up, in whatever thread. Whoever waits for it may take it now."""


class Claims(ABC):
    """The claims on the calls of a store.

    Args:
        place: what tells this store from others.
    """

    def __init__(self, place: Hashable) -> None:
        self.place = place

    @abstractmethod
    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        """Claim a call; `None` if somebody else has it.

        Args:
            key: the call's key.
            seconds: how long to wait for others; an interrupt ends the wait.
            holder: for whom; `None`: for this thread.

        Raises:
            Unclaimable: if nothing can be claimed here.
        """

    @abstractmethod
    def holder(self, key: str) -> Holder | None:
        """Who has a claim on a call; `None` if nobody has, or it cannot be told."""
