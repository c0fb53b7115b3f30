"""A cache on another machine, shared over SSH.

`SshCache` is a cache as any other; each of its operations goes to a server on the other machine,
which it starts there by `python -m fleche remote --serve`. Both ends run code that the other one
pickled: connect only where you would log in.

What lives here: `client` (`SshCache`) and `server`, `connection` over a `process`, the `frames`
that they exchange, and `records` in them. It may import everything but the command line.

>>> from fleche.config import cache_from_config
>>> config = {"type": "ssh", "host": "user@bigpc.example.com", "cache_name": "shared"}
>>> cache = cache_from_config(config)  # nothing runs before the first operation
>>> cache.host, cache.python
('user@bigpc.example.com', 'python3')
"""

# Not ours, but programs that are written for the reference import them from here, too.
from fleche.caches import BaseCache as BaseCache
from fleche.caches import Rejected as Rejected
from fleche.call import DigestedCall as DigestedCall
from fleche.call import LazyCall as LazyCall
from fleche.call import PreparedCall as PreparedCall
from fleche.call import QueryCall as QueryCall
from fleche.digest import Digest as Digest
from fleche.remote.client import SshCache
from fleche.remote.connection import RemoteConnectionError
from fleche.remote.connection import logger as logger
from fleche.remote.server import serve
from fleche.storage.base import SaveError as SaveError

__all__ = ["RemoteConnectionError", "SshCache", "serve"]

SshCache.__module__ = __name__
