"""Memory that the C library keeps for the next step instead of giving it back to the kernel."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep() -> None:
    """Let glibc keep freed blocks: without it every large tensor of every step is fetched from the kernel anew, page by
    page, which is a sixth of a step on short sentences. Nothing happens with another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most it takes
        library.mallopt(_TRIM_THRESHOLD, (2 << 30) - 1)
