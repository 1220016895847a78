# SPDX-License-Identifier: MIT
"""What the tests share: a time limit, programs in a process of their own, and gates."""

import faulthandler
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import unittest

LIMIT = 60  # seconds, far beyond what any test needs

# A shell starts what it runs in the background with SIGINT ignored, and Python leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Case(unittest.TestCase):
    """A hanging test ends the run, with a traceback of every thread."""

    def setUp(self):
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    def assert_program(self, program, output, *options):
        """A program in a process of its own ends well, says `output`, and complains of nothing."""
        command = [sys.executable, "-X", "dev", *options, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")
        self.assertEqual((done.returncode, done.stdout.split(), done.stderr), (0, output.split(), ""))


def let_go():
    """What another thread has made goes at once where there is a GIL; else when that thread comes by, or at a collection."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        gc.collect()


class Gate:
    """Tasks that call it stand until it is opened; `arrived` says when so many have come."""

    def __init__(self):
        self._open = threading.Event()
        self._came = threading.Semaphore(0)

    def __call__(self, value=None):
        self._came.release()
        if not self._open.wait(LIMIT):
            raise TimeoutError("nobody opened the gate")
        return value

    def arrived(self, count=1):
        for _ in range(count):
            if not self._came.acquire(timeout=LIMIT):
                raise TimeoutError("too few have come")

    def open(self):
        self._open.set()


class Ordered:
    """Something with a number that can be referred to weakly."""

    def __init__(self, number=0):
        self.number = number
