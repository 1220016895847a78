# SPDX-License-Identifier: MIT
"""ThreadPoolExecutor: the class of concurrent.futures. What is worth being quick is in the extension module."""

import collections
import concurrent.futures
import itertools
import math
import os
import threading
import time
import weakref

from . import _core
from ._pool import WORKERS_MAX, checked
from ._results import INITIALIZER_FAILED, THREAD_BEGUN

START_PATIENCE = 1.0  # seconds


class Results:
    """What Executor.map returns: values in order. An exception comes in its place, and the iteration goes on after it.

    What has not been taken when it is closed or dropped, or when its time is over, is cancelled.
    """

    def __init__(self, executor, fn, arguments, buffersize, deadline):
        self._executor = weakref.ref(executor)  # which may end before it is asked for more
        self._fn = fn
        self._arguments = arguments
        self._deadline = deadline
        self._has_started = False
        self._refusal = None
        self._futures = collections.deque(
            executor.submit(fn, *each) for each in itertools.islice(arguments, buffersize)
        )

    def __iter__(self):
        return self

    def __next__(self):
        self._has_started = True
        if not self._futures:
            self._raise_end()
        self._wait(self._futures[0])
        future = self._futures.popleft()
        self._refill()
        try:
            return future.result()
        finally:
            del future  # of which the exception's traceback would know

    def _wait(self, future):
        try:
            future.wait(None if self._deadline is None else self._deadline - time.monotonic())
            if not future.done():
                raise concurrent.futures.TimeoutError
        except BaseException:
            self.close()
            raise

    def _refill(self):
        if self._refusal:
            return
        executor = self._executor()
        if executor is None:
            return
        try:
            each = next(self._arguments, None)
            if each is not None:
                self._futures.append(executor.submit(self._fn, *each))
        except Exception as refusal:
            self._refusal = refusal

    def _raise_end(self):
        refusal, self._refusal = self._refusal, None
        raise refusal or StopIteration

    def close(self):
        self._arguments = iter(())
        while self._futures:
            self._futures.pop().cancel()

    def __del__(self):
        if getattr(self, "_has_started", False):
            self.close()


class WorkQueue:
    """What an executor has not started yet, as far as others ask its queue."""

    def __init__(self, executor):
        self._executor = executor

    def qsize(self):
        return self._executor._look()[1]

    def empty(self):
        return self.qsize() == 0


class ThreadPoolExecutor(_core.Executor, concurrent.futures.ThreadPoolExecutor):
    """A pool of threads with the interface of concurrent.futures.ThreadPoolExecutor.

    max_workers: how many threads at most; they are started when there is work.
    thread_name_prefix: threads are prefix_0, prefix_1, …
    initializer: called with *initargs in each thread, before its first task. If it raises, the executor is broken.
    inherit_context, stack_size, queue_max, full_fails, wait_at_exit, on_unhandled: as those of ThreadPool; the exit waits by default.
    """

    _counter = itertools.count().__next__

    def __init__(
        self, max_workers=None, thread_name_prefix="", initializer=None, initargs=(), *, inherit_context=False,
        stack_size=0, queue_max=0, full_fails=False, wait_at_exit=True, on_unhandled=None,
    ):  # fmt: skip
        if max_workers is None:
            count = getattr(os, "process_cpu_count", os.cpu_count)() or 1
            max_workers = min(32, count + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        queue_max, stack_size = checked(initializer, queue_max, stack_size, on_unhandled)
        self._max_workers = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._shutdown_lock = threading.Lock()
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{ThreadPoolExecutor._counter()}"
        self._open(
            min(math.ceil(max_workers), WORKERS_MAX), initializer, initargs, self._thread_name_prefix,
            thread_name_prefix or "crewpool", stack_size, inherit_context, wait_at_exit, queue_max, full_fails, on_unhandled,
        )  # fmt: skip

    def map(self, fn, *iterables, timeout=None, chunksize=1, buffersize=None):
        """An iterator over fn(*items), in order. chunksize is of no use to threads.

        buffersize: how many calls may be submitted whose results have not been taken; default: all at once.
        """
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        return Results(self, fn, zip(*iterables), buffersize, deadline)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Takes no more work. cancel_futures: what has not started is cancelled. wait: until all has ended."""
        if cancel_futures:
            self._await_start(lambda running, threads: running)
            self._terminate()
        else:
            self._close()
        if wait:
            self._join()

    def _await_start(self, measure):
        """Tasks for which there is a thread to be had count as started: those on their way are waited for."""
        deadline = time.monotonic() + START_PATIENCE
        while True:
            threads, queued, running, _ = self._look()
            wanted = min(self._max_workers, queued + running)
            if measure(running, len(threads)) >= wanted or time.monotonic() > deadline:
                return threads
            with THREAD_BEGUN:
                THREAD_BEGUN.wait(0.001)

    @property
    def _shutdown(self):
        return self._phase() != "RUN"

    @property
    def _broken(self):
        return INITIALIZER_FAILED if self._look()[3] is not None else False

    @property
    def _work_queue(self):
        return WorkQueue(self)

    @property
    def _threads(self):
        """A set of Thread objects."""
        return set(self._await_start(lambda running, threads: threads))
