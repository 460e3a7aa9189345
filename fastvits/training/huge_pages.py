"""Memory in pages of 2 MB instead of 4 kB.

An update takes and gives back gigabytes, in tensors that are too large for the allocator to keep: the system hands out
each page anew and clears it. torch asks for larger ones where `THP_MEM_ALLOC_ENABLE` says so when a process makes its
first tensor, and Linux has them unless `/sys/kernel/mm/transparent_hugepage/enabled` says `never`. (Batch 8 of the
standard configuration on two threads of an AMD EPYC: 7,000 page faults an update instead of 133,000, and a tenth less
time.)
"""

import os

__all__ = ["use_huge_pages"]


def use_huge_pages() -> None:
    """Have torch ask for them, in this process and in those that it starts; what the environment says goes first.

    Nothing changes in a process that has made a tensor already.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
