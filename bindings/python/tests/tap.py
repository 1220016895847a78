# SPDX-License-Identifier: MIT
"""Runs the tests of some modules of this directory and prints TAP: tap.py MODULE…"""

import sys
import unittest


class TapResult(unittest.TestResult):
    """A line for each test; what it says of its failure (or that of a part of it) follows as comments."""

    def stopTest(self, test):
        super().stopTest(test)
        told = [text for case, text in self.failures + self.errors if getattr(case, "test_case", case) is test]
        skips = [f" # SKIP {reason}" for case, reason in self.skipped if case is test]
        print(f"{'not ok' if told else 'ok'} {self.testsRun} - {test.id()}{''.join(skips)}")
        for line in "".join(told).splitlines():
            print("#", line)
        sys.stdout.flush()


def main(names):
    result = TapResult()
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    suite.run(result)
    print(f"1..{result.testsRun}")
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
