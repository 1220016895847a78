# SPDX-License-Identifier: MIT
"""ThreadPool: the class of multiprocessing.pool. What is worth being quick is in the extension module."""

import itertools
import multiprocessing.pool
import operator
import os
import threading
import warnings

from . import _core

WORKERS_MAX = 4096  # of the C library
STACK_MIN = 32768  # of threading.stack_size


def default_size():
    """Before 3.13, which has an answer of its own, the CPUs that affinity and the control group's quota leave."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    return _core.cpu_count()


def checked(initializer, queue_max, stack_size, on_unhandled):
    """The two in the middle as numbers, the stack size as threading has it where none is given; or an exception."""
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    queue_max, stack_size = operator.index(queue_max), operator.index(stack_size)
    if queue_max < 0:
        raise ValueError("queue_max must be 0 or more")
    if stack_size != 0 and stack_size < STACK_MIN:
        raise ValueError(f"stack_size must be 0 or at least {STACK_MIN}")
    if on_unhandled is not None and not callable(on_unhandled):
        raise TypeError("on_unhandled must be a callable")
    return queue_max, stack_size or threading.stack_size()


class ThreadPool(_core.Pool, multiprocessing.pool.Pool):
    """A pool of threads with the interface of multiprocessing.pool.ThreadPool.

    processes: how many threads; default: as many as there are CPUs to be used.
    initializer: called with *initargs in each thread, before its first task. If it raises, the pool is broken.
    inherit_context: tasks run in a copy of the context (contextvars) of whoever submits them.
    thread_name_prefix: threads are prefix_0, prefix_1, …
    stack_size: of the threads' stacks in bytes; 0: as threading.stack_size says.
    queue_max: how many calls, maps included, may be queued; whoever submits one more waits for room, but for the pool's own tasks.
    full_fails: such a one gets FullError instead.
    wait_at_exit: the interpreter's exit waits for what is queued and running; without, it drops what is queued, and the threads
        are daemons.
    on_unhandled: called with the exception of a task whose result goes without anybody having seen that it failed.
    """

    _counter = itertools.count(1).__next__
    _state_set = None

    def __init__(
        self, processes=None, initializer=None, initargs=(), *, inherit_context=False, thread_name_prefix="",
        stack_size=0, queue_max=0, full_fails=False, wait_at_exit=False, on_unhandled=None,
    ):  # fmt: skip
        if processes is None:
            processes = default_size()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        processes = operator.index(processes)
        queue_max, stack_size = checked(initializer, queue_max, stack_size, on_unhandled)
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        name = thread_name_prefix or f"ThreadPool-{ThreadPool._counter()}"
        self._open(
            min(processes, WORKERS_MAX), initializer, initargs, name, thread_name_prefix or "crewpool", stack_size,
            inherit_context, wait_at_exit, queue_max, full_fails, on_unhandled,
        )  # fmt: skip

    @property
    def _state(self):
        return self._state_set or self._phase()

    @_state.setter
    def _state(self, state):
        self._state_set = state

    @property
    def _pool(self):
        """The threads that there are, and None for each that has had nothing to do yet."""
        threads = self._look()[0][: self._processes]
        return threads + [None] * (self._processes - len(threads))

    def _check_running(self):
        if self._phase() != "RUN":
            raise ValueError("Pool not running")

    def __enter__(self):
        self._check_running()
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.terminate()

    def __repr__(self):
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={self._processes}>"

    def __reduce__(self):
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __del__(self, _warn=warnings.warn):
        if getattr(self, "_processes", None) and self._state == "RUN":
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)
