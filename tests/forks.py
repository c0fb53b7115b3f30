"""Work that a test has done by a process forked from its own."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable


def in_child(work: Callable[[], object]) -> None:
    """Do `work` in a forked process, and wait for its end, which must be a good one."""
    assert exit_code_of_child(work) == 0


def exit_code_of_child(work: Callable[[], object]) -> int:
    """The exit code of a forked process that did `work`; of a killed one the negative signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
