# SPDX-License-Identifier: MIT
"""ThreadPool and ThreadPoolExecutor, on a scheduler written in C.

Both are used as the classes of the same name in multiprocessing.pool and concurrent.futures. What a pool returns is an
AsyncResult and a Future in one: it can be waited for by get() and by concurrent.futures.wait(), cancelled, and awaited.
"""

from ._executor import ThreadPoolExecutor
from ._pool import ThreadPool
from ._results import (
    AsyncResult,
    DeadlockError,
    ForkedError,
    FullError,
    Future,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
    TerminatedError,
)

__version__ = "0.1.0"
__all__ = [
    "AsyncResult",
    "DeadlockError",
    "ForkedError",
    "FullError",
    "Future",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "TerminatedError",
    "ThreadPool",
    "ThreadPoolExecutor",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
