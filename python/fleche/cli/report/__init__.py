"""The page that `fleche report` writes.

What lives here: `gathering` (what it says, of one pass over the records), `ancestry` (which call's
lineage it shows), `sections` (the page, of the pieces in `fleche.look`), `planned` (what a plan
would drop). It may import everything. A new part of the page is a function in `sections`.
"""
