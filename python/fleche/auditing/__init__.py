"""Whether what is stored is right: what is damaged, and what a computation would give today.

What lives here: `verification` (each entry of a cache is readable, and what its key says), with
`entries` (one entry), `content` (a value against its key), `places` (the storages of a cache, and
what lies in them that is no entry) and `report`; `audits` (stored calls, run again), with `sample`
(which ones), `functions` (their functions, and a run of them) and `comparison` (two results);
`promotion` (old records for a function that was refactored). It may import the wrapper and what is
below. A new kind of damage is a member of `report.Kind`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from fleche.auditing.audits import Audit, Run, Skipped, Verdict, audit
    from fleche.auditing.comparison import Tolerance
    from fleche.auditing.promotion import Promotion, promote
    from fleche.auditing.report import Kind, Problem, Report
    from fleche.auditing.verification import verify

__all__ = [
    "Audit",
    "Kind",
    "Problem",
    "Promotion",
    "Report",
    "Run",
    "Skipped",
    "Tolerance",
    "Verdict",
    "audit",
    "promote",
    "verify",
]

__getattr__, __dir__ = names_of(
    __name__,
    {
        **dict.fromkeys(("Audit", "Run", "Skipped", "Verdict", "audit"), "fleche.auditing.audits"),
        "Tolerance": "fleche.auditing.comparison",
        **dict.fromkeys(("Promotion", "promote"), "fleche.auditing.promotion"),
        **dict.fromkeys(("Kind", "Problem", "Report"), "fleche.auditing.report"),
        "verify": "fleche.auditing.verification",
    },
)
