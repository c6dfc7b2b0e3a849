"""What a process that may hold a seed or a password does before anything else.

Files it makes are its owner's alone, and its memory is not written to disk when it crashes, nor
shown to the owner's other processes where the system allows to forbid that.
"""

from __future__ import annotations

import os
import resource
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def harden() -> None:
    """umask 077; no core dumps, now or for children; on Linux not dumpable at all."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # A core pattern with a pipe ignores the limit, and ptrace(2) needs no core at all.
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
