#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs CPython's own tests of thread pools and executors, unmodified, on crewpool's classes instead of the interpreter's.

    INTERPRETER cpython.py DIRECTORY        where the package crewpool of this interpreter is

The classes are exchanged when an interpreter starts, by a .pth file in a scratch environment: so they are in processes that
tests start, too. Every pool and executor that is made is counted. Status 1: a test fails that is not excused, an excused one
does not, or nothing was made. Status 77: the interpreter has no tests (Debian: libpython3.11-testsuite).
"""

import collections
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import tempfile
import time
import unittest
import venv

NO_TESTS = 77
TIME_LIMIT = 170  # seconds, for all of them
LOG = "CREWPOOL_MADE"  # of the environment: the file that has a letter for each pool or executor that was made

# Modules (packages with all that is in them), and which tests of them: `Class.test`.
SUITES = {
    "thread pools": [("test.test_multiprocessing_fork", r"WithThreadsTestPool\.")],
    "executors": [("test.test_concurrent_futures", r"(ThreadPool\w*|FutureTests)\.")],
    "asyncio": [
        ("test.test_asyncio.test_threads", r""),
        ("test.test_asyncio.test_futures", r"CFutureTests\."),
        ("test.test_asyncio.test_tasks", r"RunCoroutineThreadsafeTests\."),
        ("test.test_asyncio.test_base_events", r"BaseEventLoopTests\."),
        ("test.test_asyncio.test_events", r"EPollEventLoopTests\.test_run_in_executor"),
        ("test.test_context", r""),
    ],
}

# Tests that fail, and why that is as it should be: {`Class.test`: reason}. They are run, and have to fail.
EXCUSED = {}

# Tests that depend on who is faster, and why: whether they fail is told, and says nothing.
RACES = {
    "ThreadPoolExecutorTest.test_idle_thread_reuse": "a thread in reserve goes last, but may overtake one that was preempted on its way to sleep",
}

SWAP = """\
import concurrent.futures, concurrent.futures.thread, multiprocessing.pool, os, sys
sys.path.insert(0, {directory!r})
import crewpool
def note(letter):
    log = os.open(os.environ[{log!r}], os.O_WRONLY | os.O_APPEND)
    os.write(log, letter)
    os.close(log)
class ThreadPool(crewpool.ThreadPool):
    def __init__(self, *args, **kwargs):
        note(b"p")
        super().__init__(*args, **kwargs)
class ThreadPoolExecutor(crewpool.ThreadPoolExecutor):
    def __init__(self, *args, **kwargs):
        note(b"e")
        super().__init__(*args, **kwargs)
ThreadPool.__module__ = "multiprocessing.pool"
ThreadPoolExecutor.__module__ = "concurrent.futures.thread"
multiprocessing.pool.ThreadPool = ThreadPool
concurrent.futures.thread.ThreadPoolExecutor = concurrent.futures.ThreadPoolExecutor = ThreadPoolExecutor
"""


def make_environment(root, directory):
    """A scratch environment whose interpreter has the classes exchanged from its start; returns that interpreter."""
    venv.create(root, symlinks=True)
    packages = next(pathlib.Path(root).glob("lib/python*/site-packages"))
    (packages / "crewpool_swap.py").write_text(SWAP.format(directory=directory, log=LOG), encoding="utf-8")
    (packages / "crewpool_swap.pth").write_text("import crewpool_swap\n", encoding="utf-8")
    return pathlib.Path(root) / "bin" / "python"


# ---- inside: one suite in the scratch environment ----


def modules(name):
    """The module; of a package all that is in it."""
    module = importlib.import_module(name)
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), name + "."):
        if info.name.rpartition(".")[2].startswith("test_"):
            yield importlib.import_module(info.name)


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def name_of(case):
    """`Class.test`."""
    return ".".join(getattr(case, "test_case", case).id().split(".")[-2:])


def load(wanted):
    suite, seen = unittest.TestSuite(), set()
    for name, pattern in wanted:
        for module in modules(name):
            found = cases(unittest.defaultTestLoader.loadTestsFromModule(module))
            chosen = [case for case in found if re.match(pattern, name_of(case)) and case.id() not in seen]
            seen.update(case.id() for case in chosen)
            if chosen:  # by module, so that its fixtures are run around them
                suite.addTest(unittest.TestSuite(chosen))
    return suite


def run_inside(suite_name):
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(load(SUITES[suite_name]))
    failed = {name_of(case) for case, _ in result.failures + result.errors} | {
        name_of(case) for case in result.unexpectedSuccesses
    }
    for case, reason in result.skipped:
        print(f"skipped by itself: {name_of(case)}: {reason}")
    reasons = {**EXCUSED, **RACES}
    for name in sorted(failed):
        print(f"failed: {name}: {reasons.get(name, 'not excused')}")
    ran = {name_of(case) for case in cases(load(SUITES[suite_name]))}
    needless = [name for name in EXCUSED if name in ran and name not in failed]
    for name in needless:
        print(f"excused, but it does not fail: {name}")
    return 1 if failed - reasons.keys() or needless or result.testsRun == 0 else 0


# ---- outside ----


def run_suite(python, name, log):
    """Whether all is well."""
    log.write_bytes(b"")
    start = time.monotonic()
    command = [python, __file__, "--inside", name]
    environment = {**os.environ, LOG: str(log)}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(command, env=environment, timeout=TIME_LIMIT, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired as late:
        print(f"{late.stdout}\n{name}: not done after {TIME_LIMIT} s")
        return False
    made = collections.Counter(log.read_text(encoding="ascii"))
    is_well = done.returncode == 0 and len(made) > 0
    print(done.stdout.strip() if is_well else done.stdout + done.stderr)
    took = time.monotonic() - start
    print(f"{name}: {made['p']} thread pools and {made['e']} executors of crewpool were made, {took:.0f} s", flush=True)
    return is_well


def main(directory):
    missing = [name for name, *_ in sum(SUITES.values(), []) if not has_module(name)]
    if missing:
        print(f"CPython's tests are not there ({', '.join(missing)}); Debian has them in libpython3.11-testsuite")
        return NO_TESTS
    with tempfile.TemporaryDirectory(prefix="crewpool-") as root:
        python = make_environment(root, str(pathlib.Path(directory).resolve()))
        print(f"CPython {sys.version.split()[0]}", flush=True)
        verdicts = [run_suite(python, name, pathlib.Path(root) / "made") for name in SUITES]
    return 0 if all(verdicts) else 1


def has_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        sys.exit(run_inside(sys.argv[2]))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
