"""Claims on the calls of a cache on another machine.

Its server holds them for this client, and they end with the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fleche.storage.claims import Claim, Claims, Holder, Unclaimable

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["RemoteClaims", "ServedClaims"]


class RemoteClaims(Claims):
    """As the client sees them.

    Args:
        place: what tells this cache from others.
        ask: has the server do something.
    """

    def __init__(self, place: Any, ask: Callable[..., Any]) -> None:
        super().__init__(place)
        self._ask_server = ask

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        here = holder or Holder.here()
        taken, dead = self._ask("claim", key, seconds, here.to_json())
        return _RemoteClaim(self, key, Holder.from_json(dead)) if taken else None

    def holder(self, key: str) -> Holder | None:
        return Holder.from_json(self._ask("claim_holder", key))

    def _ask(self, method: str, *args: Any) -> Any:
        from fleche.remote import RemoteConnectionError

        try:
            return self._ask_server(method, *args, plain=True)
        except (OSError, RemoteConnectionError, RuntimeError) as error:
            raise Unclaimable(str(error), is_told=True) from error


class _RemoteClaim(Claim):
    def __init__(self, claims: RemoteClaims, key: str, dead: Holder | None) -> None:
        super().__init__(dead)
        self._claims, self._key = claims, key

    def wait_for(self, key: str | None) -> None:
        self._claims._ask("claim_waits_for", self._key, key)

    def release(self) -> None:
        try:
            self._claims._ask("claim_release", self._key)
        except Unclaimable:
            # With the connection the claim is gone.
            return


class ServedClaims:
    """As the server holds them, for one client.

    Args:
        cache: the cache that is served.
    """

    #: No longer than this, in seconds, others of the client wait for the reply.
    LONGEST = 0.05

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache
        self._held: dict[str, Claim] = {}

    def take(self, key: str, seconds: float, holder: Any) -> tuple[bool, Any]:
        claims = self._cache._claims()
        if claims is None or key in self._held:
            return claims is None, None
        claim = claims.take(key, min(seconds, self.LONGEST), Holder.from_json(holder))
        if claim is None:
            return False, None
        self._held[key] = claim
        return True, None if claim.dead is None else claim.dead.to_json()

    def holder(self, key: str) -> Any:
        claims = self._cache._claims()
        holder = None if claims is None else claims.holder(key)
        return None if holder is None else holder.to_json()

    def wait_for(self, key: str, other: str | None) -> None:
        if key in self._held:
            self._held[key].wait_for(other)

    def release(self, key: str) -> None:
        if key in self._held:
            self._held.pop(key).release()
