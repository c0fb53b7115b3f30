"""What everything stands on and users never see: errors, the seam, forks, interrupts, imports.

May import `fleche._core` only. A new one of its kind is a file: a thing that at least two floors
need, and that knows no digest, no call and no cache.
"""
