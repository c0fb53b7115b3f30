"""Calls under the keys of another digest scheme: found (`older`) and filed anew (`redigest`).

May import storages and what is below, and `caches.base`.
"""
