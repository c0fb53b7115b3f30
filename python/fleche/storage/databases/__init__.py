"""Databases of servers, through SQLAlchemy: the store (`alchemy`) and its tables (`tables`).

Imported when such a URL is opened, as SQLAlchemy is slow to load. SQLite is in the core; the
storage of both is `fleche.storage.sql`. May import `storage.base` and what is below.
"""
