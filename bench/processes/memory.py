"""How much memory a process took; in a module of its own, which loads no library that would take some."""

import resource
import sys
from pathlib import Path


def peak_resident_bytes() -> int:
    """The most memory that this process has had so far; `getrusage` alone would count what its parent had when it
    started this one."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Kibibytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
