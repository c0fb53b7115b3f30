"""Collecting garbage: the values that no call needs (`collect`), which caches share a folder of
values (`users`), and where storages keep their entries (`places`).

May import storages and what is below, and `caches.base`.
"""
