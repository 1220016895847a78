# SPDX-License-Identifier: MIT
# What type checkers see. The classes derive from the interpreter's own where clients test for that.
import concurrent.futures
import multiprocessing.pool
import queue
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
_S = TypeVar("_S")
_P = TypeVar("_P", bound=ThreadPool)

__version__: str

class TerminatedError(concurrent.futures.CancelledError): ...
class DeadlockError(RuntimeError): ...
class ForkedError(RuntimeError): ...
class FullError(queue.Full): ...

class Future(concurrent.futures.Future[_T]):
    def get(self, timeout: float | None = None) -> _T: ...
    def wait(self, timeout: float | None = None) -> None: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def __await__(self) -> Generator[Any, None, _T]: ...

class AsyncResult(Future[_T], multiprocessing.pool.AsyncResult[_T]): ...
class MapResult(AsyncResult[list[_T]], multiprocessing.pool.MapResult[_T]): ...

class IMapIterator(multiprocessing.pool.IMapIterator[_T]):
    def next(self, timeout: float | None = None) -> _T: ...
    def __iter__(self) -> IMapIterator[_T]: ...

class IMapUnorderedIterator(IMapIterator[_T], multiprocessing.pool.IMapUnorderedIterator[_T]): ...

class ThreadPool(multiprocessing.pool.Pool):
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        inherit_context: bool = False,
        thread_name_prefix: str = "",
        stack_size: int = 0,
        queue_max: int = 0,
        full_fails: bool = False,
        wait_at_exit: bool = False,
        on_unhandled: Callable[[BaseException], object] | None = None,
    ) -> None: ...
    def apply(self, func: Callable[..., _T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}) -> _T: ...
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[_T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[_T]: ...
    def map(self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int | None = None) -> list[_T]: ...
    def map_async(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[_T]: ...
    def starmap(
        self, func: Callable[..., _T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[_T]: ...
    def starmap_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[_T]: ...
    def imap(  # type: ignore[override]
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int = 1, buffersize: int | None = None
    ) -> IMapIterator[_T]: ...
    def imap_unordered(  # type: ignore[override]
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int = 1, buffersize: int | None = None
    ) -> IMapUnorderedIterator[_T]: ...
    def close(self) -> None: ...
    def terminate(self) -> None: ...
    def join(self, timeout: float | None = None) -> bool: ...  # type: ignore[override]
    def __enter__(self: _P) -> _P: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None: ...

class ThreadPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        inherit_context: bool = False,
        stack_size: int = 0,
        queue_max: int = 0,
        full_fails: bool = False,
        wait_at_exit: bool = True,
        on_unhandled: Callable[[BaseException], object] | None = None,
    ) -> None: ...
    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]: ...
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]: ...
