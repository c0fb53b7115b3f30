"""How values and records are kept in buckets: S3 and its kin, Google Cloud Storage, Azure.

`fleche.storage.bucket` has the storages. Here: `urls` (where a bucket is), `settings` (how it is
spoken to, and with what credentials), `place` (what a process knows of one bucket), `entries` (the
bytes of an entry), `index` and `mirror` (queries without reading every record), `leases` (who
computes a call). The requests themselves are made in the core, `src/engine/bucket`. It may import
what is below the storages, and the storages' bases.
"""
