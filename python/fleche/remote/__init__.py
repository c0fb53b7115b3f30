"""A cache on another machine, shared over SSH.

`SshCache` is a cache as any other; each of its operations goes to a server on the other machine,
which it starts there by `python -m fleche remote --serve`. Both ends run code that the other one
pickled: connect only where you would log in.

>>> from fleche.config import cache_from_config
>>> config = {"type": "ssh", "host": "user@bigpc.example.com", "cache_name": "shared"}
>>> cache = cache_from_config(config)  # nothing runs before the first operation
>>> cache.host, cache.python
('user@bigpc.example.com', 'python3')
"""

from fleche.remote.client import SshCache
from fleche.remote.connection import RemoteConnectionError
from fleche.remote.server import serve

__all__ = ["RemoteConnectionError", "SshCache", "serve"]

SshCache.__module__ = __name__
