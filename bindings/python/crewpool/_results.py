# SPDX-License-Identifier: MIT
"""What pools return, the errors of their own, and what the extension module needs of Python."""

import atexit
import concurrent.futures
import concurrent.futures.thread
import logging
import multiprocessing
import multiprocessing.pool
import queue
import threading

from . import _core

LOGGER = logging.getLogger("concurrent.futures")
IS_MAIN_INTERPRETER = _core.is_main_interpreter()
INITIALIZER_FAILED = "A thread initializer failed, the thread pool is not usable anymore"


class TerminatedError(concurrent.futures.CancelledError):
    """The pool was terminated before this could run."""


class DeadlockError(RuntimeError):
    """A task would wait for itself, or for one that waits for it."""


class ForkedError(RuntimeError):
    """The pool belongs to the process that this one was forked from."""


class FullError(queue.Full):
    """As much is queued as the pool takes."""


# ---- results ----


class Future(_core.Result, concurrent.futures.Future):
    """What ThreadPoolExecutor.submit returns."""

    def __await__(self):
        from asyncio import wrap_future

        return wrap_future(self).__await__()


class AsyncResult(Future, multiprocessing.pool.AsyncResult):
    """What ThreadPool.apply_async returns."""


class MapResult(AsyncResult, multiprocessing.pool.MapResult):
    """What map_async and starmap_async return."""


class IMapIterator(_core.Iterator, multiprocessing.pool.IMapIterator):
    """What imap returns."""


class IMapUnorderedIterator(IMapIterator, multiprocessing.pool.IMapUnorderedIterator):
    """What imap_unordered returns."""


# ---- the threads of workers, as threading sees them ----


THREAD_BEGUN = threading.Condition()


class WorkerThread(threading._DummyThread):
    """The Thread object of a worker, whose thread is not Python's own."""

    def __init__(self, name, daemon):
        super().__init__()
        self._name = name
        self._daemonic = daemon
        self._has_ended = threading.Event()
        self._untrack()
        with THREAD_BEGUN:
            THREAD_BEGUN.notify_all()

    def _untrack(self):
        """From 3.13 something that ends with the thread takes it off threading's list, as end() does, but under a lock.

        Where the interpreter ends, one such may be frozen with that lock, and all the others are ended by the main thread: it would wait for ever.
        """
        ends_with_thread = getattr(threading, "_thread_local_info", None)
        if hasattr(ends_with_thread, "_track_dummy_thread_ref"):
            del ends_with_thread._track_dummy_thread_ref
            threading._active[self._ident] = self

    def is_alive(self):
        return not self._has_ended.is_set()

    def join(self, timeout=None):
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        self._has_ended.wait(timeout)

    def end(self):
        """By the thread itself: nobody else changes its place in the list."""
        if threading._active.get(self._ident) is self:
            threading._active.pop(self._ident, None)
        self._has_ended.set()


def start_thread(function):
    threading.Thread(target=function, name="crewpool-feeder", daemon=IS_MAIN_INTERPRETER).start()


# ---- what the extension calls ----


def notify(future, condition, waiters):
    """Tells those that wait() and as_completed() of concurrent.futures have put there. The condition is held."""
    for waiter in waiters or ():
        if future.cancelled():
            waiter.add_cancelled(future)
        elif future._success:
            waiter.add_result(future)
        else:
            waiter.add_exception(future)
    condition.notify_all()


def log_callback(future, exception):
    LOGGER.error("exception calling callback for %r", future, exc_info=exception)


def initializer_failed(exception, is_executor):
    if is_executor:
        LOGGER.critical("Exception in initializer:", exc_info=exception)
    return INITIALIZER_FAILED


_core.configure(
    AsyncResult=AsyncResult,
    MapResult=MapResult,
    Future=Future,
    IMapIterator=IMapIterator,
    IMapUnorderedIterator=IMapUnorderedIterator,
    new_condition=threading.Condition,
    notify=notify,
    log_callback=log_callback,
    thread_begin=WorkerThread,
    thread_end=WorkerThread.end,
    initializer_failed=initializer_failed,
    start_thread=start_thread,
    PoolTimeoutError=multiprocessing.TimeoutError,
    FutureTimeoutError=concurrent.futures.TimeoutError,
    CancelledError=concurrent.futures.CancelledError,
    TerminatedError=TerminatedError,
    BrokenThreadPool=concurrent.futures.thread.BrokenThreadPool,
    DeadlockError=DeadlockError,
    InvalidStateError=concurrent.futures.InvalidStateError,
    ForkedError=ForkedError,
    FullError=FullError,
)

# ---- the interpreter's end ----


def end_waited_for():
    """Threads that are no daemons may submit as long as they live, though the main thread has ended."""
    others = True
    while others:
        mine = threading.main_thread(), threading.current_thread()
        others = [
            thread for thread in threading.enumerate()
            if not thread.daemon and thread not in mine and not isinstance(thread, WorkerThread)
        ]  # fmt: skip
        for thread in others:
            thread.join()
    _core.at_exit(True)


def end_waited_for_later():
    """On a thread, which the interpreter waits for as for all that are no daemons: some of these end only now."""
    try:
        threading.Thread(target=end_waited_for, name="crewpool-exit", daemon=False).start()
    except RuntimeError:
        _core.at_exit(True)


# Executors' work is waited for before the exit handlers of others run; thread pools' is dropped. Another interpreter than the main one has no
# daemons: there thread pools end before their threads are waited for, and after executors.
if IS_MAIN_INTERPRETER:
    threading._register_atexit(end_waited_for_later)
else:
    threading._register_atexit(_core.at_exit, False)
    threading._register_atexit(_core.at_exit, True)
atexit.register(_core.at_exit, False)
