# SPDX-License-Identifier: MIT
"""ThreadPool: the class of multiprocessing.pool. What is worth being quick is in the extension module."""

import itertools
import multiprocessing.pool
import operator
import os
import warnings

from . import _core

WORKERS_MAX = 4096  # of the C library


def default_size():
    """Before 3.13, which has an answer of its own, the CPUs that affinity and the control group's quota leave."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    return _core.cpu_count()


class ThreadPool(_core.Pool, multiprocessing.pool.Pool):
    """A pool of threads with the interface of multiprocessing.pool.ThreadPool.

    processes: how many threads; default: as many as there are CPUs to be used.
    initializer: called with *initargs in each thread, before its first task. If it raises, the pool is broken.
    inherit_context: tasks run in a copy of the context (contextvars) of whoever submits them.
    """

    _counter = itertools.count(1).__next__
    _state_set = None

    def __init__(self, processes=None, initializer=None, initargs=(), *, inherit_context=False):
        if processes is None:
            processes = default_size()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        processes = operator.index(processes)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        name = f"ThreadPool-{ThreadPool._counter()}"
        self._open(min(processes, WORKERS_MAX), initializer, initargs, name, inherit_context)

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
