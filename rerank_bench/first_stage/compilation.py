"""How the kernels are compiled: by numba, without the interpreter lock, kept on disk where a disk allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """Return the function compiled on its first call; the machine code is kept for the next process.

    numba keeps it beside the source file or, where that folder is read-only, in the user's cache folder.  Where neither
    can be written it refuses to decorate at all: then every process compiles afresh, which takes some seconds.
    """
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast("Kernel", numba.njit(nogil=True)(function))
