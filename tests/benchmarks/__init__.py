"""Benchmarks: ours, the reference and the packages one would use instead, in one run.

`python -m tests.benchmarks [--only hit] [--json out.json]`; a new row is declared in `rows.py`,
and what it times is written in `work.py`.
"""
