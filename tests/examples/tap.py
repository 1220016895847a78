# SPDX-License-Identifier: MIT
"""Runs test functions and prints TAP. A test's name is its function's, with blanks; it fails by any exception."""

import traceback


class Skip(Exception):
    """Raised by a test that cannot be run here."""


def equal(actual, expected, what=""):
    if actual != expected:
        raise AssertionError(f"{what} is {actual!r}, not {expected!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in {text!r}")


def run_one(number, test):
    name = test.__name__.replace("_", " ")
    try:
        test()
    except Skip as why:
        print(f"ok {number} - {name} # SKIP {why}", flush=True)
        return True
    except Exception:  # whatever it is, it is this test's failure
        print(f"not ok {number} - {name}")
        for line in traceback.format_exc().splitlines():
            print(f"# {line}")
        return False
    print(f"ok {number} - {name}", flush=True)
    return True


def run(tests):
    """Returns the exit status."""
    print(f"1..{len(tests)}", flush=True)
    good = [run_one(number, test) for number, test in enumerate(tests, 1)]
    return 0 if all(good) else 1
