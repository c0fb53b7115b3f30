"""What keeps a cache within limits of bytes, age and number.

What lives here: `limits` (what is limited, and how it is written), `ledger` over `database` (the
account of calls, which are `entries`, and of the values that they need), `needs` and `reading`
(what a call needs, and how many bytes that is), `sources` (what changed in a store since somebody
looked), `victims` (which calls are too much), `keeper` (one small step at each save), `plans` (what
would go, and what it costs to get it back). It may import what caches may. A new policy is an order
in `ledger`.

The account is no part of the store: where it is absent, damaged or too old, it is made again from
what is stored, a little at each save, and nothing is removed until it is whole.
"""
