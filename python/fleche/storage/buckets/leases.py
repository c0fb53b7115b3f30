"""Claims in a bucket: leases, which their owners renew, by conditional writes alone.

`l/<key>` is a claim. Who creates it has it; its owner replaces it now and then, with one more
beat. Whoever sees it unchanged for as long as it says it is good for, by their own clock, takes it
over by replacing exactly what they saw: of several, one succeeds. So no clocks are compared.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from fleche._foundation.errors import BucketError
from fleche.storage.base import logger
from fleche.storage.buckets.place import Place
from fleche.storage.claims import Claim, Claims, Holder, Unclaimable

__all__ = ["BucketClaims"]

# A claim is renewed so often while it is good.
_BEATS = 5

# Pauses between looks at a claim that somebody else has, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5

# What is known of a claim that nobody asked for lately is forgotten, so many at most.
_MOST_SEEN = 1 << 12

_FOLDER = "l"


@dataclass(frozen=True)
class _Seen:
    """A state of a claim, and since when it has not changed, by the clock of this process."""

    version: Any
    since: float
    holder: Holder | None
    lease: float
    released: bool

    @property
    def is_over(self) -> bool:
        return self.released or time.monotonic() - self.since > self.lease


class BucketClaims(Claims):
    """The claims on the calls in a bucket.

    Args:
        where: what tells this bucket from others.
        place: the bucket.
        lease: how long a claim outlives its owner, in seconds.
    """

    def __init__(self, where: Hashable, place: Place, lease: float) -> None:
        super().__init__(where)
        self._at, self._lease = place, lease
        self._seen: dict[str, _Seen] = {}
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._owned: dict[str, _Lease] = {}
        self._process = os.getpid()
        self._beating = False
        self._verdict: str | None = None
        self._is_probed = False

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while True:
            claim = self._try(key, holder or Holder.here())
            left = deadline - time.monotonic()
            if claim is not None or left <= 0:
                return claim
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def holder(self, key: str) -> Holder | None:
        seen = self._look(key)
        return None if seen is None or seen.is_over else seen.holder

    def _try(self, key: str, holder: Holder) -> Claim | None:
        self._probe()
        lease = _Lease(self, key, holder)
        try:
            # Reading costs less than a write that is refused.
            seen = self._look(key) if key in self._seen else None
            version = None
            if seen is None:
                version = self._at.ask(lambda bucket: bucket.create(lease.path, lease.text()))
            if version is None:
                seen = self._look(key) if seen is None else seen
                if seen is None or not seen.is_over:
                    return None
                if not seen.released:
                    lease.dead = seen.holder
                version = self._at.ask(
                    lambda bucket: bucket.replace(lease.path, lease.text(), seen.version)
                )
        except BucketError as error:
            raise Unclaimable(str(error), is_told=True) from error
        self._seen.pop(key, None)
        if version is None:
            return None
        lease.taken(version)
        self._keep(lease)
        return lease

    def _look(self, key: str) -> _Seen | None:
        """The state of a claim; `None` if there is none."""
        try:
            found = self._at.ask(lambda bucket: bucket.get(f"{_FOLDER}/{key}"))
        except BucketError as error:
            raise Unclaimable(str(error), is_told=True) from error
        if found is None:
            self._seen.pop(key, None)
            return None
        text, version = found
        seen = self._seen.get(key)
        if seen is None or seen.version != version:
            seen = _read(text, version, self._lease)
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen[key] = seen
        return seen

    def _probe(self) -> None:
        """Try once whether the server keeps its word.

        Raises:
            Unclaimable: if it does not.
        """
        if self._process != os.getpid():
            # What the parent holds is the parent's to renew.
            self._begin()
        if not self._is_probed:
            nonce = secrets.token_hex(8)
            try:
                self._verdict = self._at.ask(lambda bucket: bucket.probe(_FOLDER, nonce))
            except BucketError as error:
                raise Unclaimable(str(error), is_told=True) from error
            self._is_probed = True
        if self._verdict is not None:
            raise Unclaimable(
                f"{self._at.where.url} has no conditional writes that hold: {self._verdict}. Calls "
                f"may be computed more than once there; choose a server that has them for "
                f"`once=True` (S3, GCS, Azure and SeaweedFS do), or keep the calls in a database"
            )

    def _keep(self, lease: _Lease) -> None:
        """Have a claim renewed from now on."""
        with self._lock:
            self._owned[lease.owner] = lease
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="fleche-leases", daemon=True).start()

    def drop(self, lease: _Lease) -> None:
        """Renew a claim no longer."""
        with self._lock:
            self._owned.pop(lease.owner, None)

    def _beat(self) -> None:
        while True:
            time.sleep(self._lease / _BEATS)
            with self._lock:
                owned = [*self._owned.values()]
                if not owned:
                    self._beating = False
                    return
            for lease in owned:
                lease.renew()


class _Lease(Claim):
    def __init__(self, claims: BucketClaims, key: str, holder: Holder) -> None:
        super().__init__()
        self._claims, self._holder = claims, holder
        self.path = f"{_FOLDER}/{key}"
        self.owner = secrets.token_hex(16)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._beats = 0
        self._version: Any = None
        self._renewed = 0.0
        self._is_over = False

    def text(self, released: bool = False) -> bytes:
        return json.dumps(
            {
                **self._holder.to_json(),
                "owner": self.owner,
                "beats": self._beats,
                "lease": self._claims._lease,
                "released": released,
            }
        ).encode()

    def taken(self, version: Any) -> None:
        self._version, self._renewed = version, time.monotonic()

    def renew(self) -> None:
        """Show that the owner lives."""
        with self._lock:
            if self._is_over:
                return
            try:
                self._replace()
            except BucketError as error:
                # The next one may succeed in time.
                logger.warning("Cannot renew a claim: %s", error)

    def _replace(self, released: bool = False) -> None:
        self._beats += 1
        begun, text = time.monotonic(), self.text(released)
        version = self._claims._at.ask(
            lambda bucket: bucket.replace(self.path, text, self._version)
        )
        if version is None:
            # It was taken over, as this process stood still for longer than it is good for.
            self._is_over = True
            self._claims.drop(self)
            if not released:
                logger.warning(
                    "The claim %s was taken over by others, as it was not renewed in time: its "
                    "call may be computed twice",
                    self.path,
                )
            return
        self._version, self._renewed = version, begun

    def wait_for(self, key: str | None) -> None:
        with self._lock:
            self._holder = replace(self._holder, waits_for=key)
            if not self._is_over:
                try:
                    self._replace()
                except BucketError as error:
                    raise Unclaimable(str(error), is_told=True) from error

    def release(self) -> None:
        if self._process != os.getpid():
            return
        self._claims.drop(self)
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            lease = self._claims._lease
            try:
                # Nobody can have taken over what was renewed just now: it may be removed as it is.
                if time.monotonic() - self._renewed < lease / 2:
                    self._claims._at.ask(lambda bucket: bucket.delete(self.path))
                else:
                    self._replace(released=True)
            except BucketError as error:
                logger.warning("Cannot give up a claim, which ends in %g s: %s", lease, error)


def _read(text: bytes, version: Any, lease: float) -> _Seen:
    now = time.monotonic()
    try:
        held = json.loads(text)
        good_for, released = float(held["lease"]), bool(held["released"])
    except (ValueError, TypeError, KeyError):
        # Whatever it is, nobody renews it.
        return _Seen(version, now, None, lease, False)
    return _Seen(version, now, Holder.from_json(held), good_for, released)
