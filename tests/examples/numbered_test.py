#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every numbered example prints what the sample in its first comment says, on one worker and on several.

Argument: the directory of the built examples.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys

import tap

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / "examples"
PROGRAMS = pathlib.Path(sys.argv[1]).resolve()


def samples(source):
    """(command, its output) of each `$ command` in the first comment but the licence."""
    comment = source.read_text(encoding="utf-8").split("/*")[2].split("*/")[0]
    found = []
    for line in re.findall(r"^ \*     (.*?) ?$", comment, re.MULTILINE):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


def run(command, workers, given=None):
    """Runs it with `given` on standard input; ends all that it started when it takes too long."""
    process = subprocess.Popen(
        command,
        cwd=PROGRAMS,
        env=dict(os.environ, CREW_CPU_COUNT=str(workers)),
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, said = process.communicate(given, timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, said)


def check(command, expected, workers):
    done = run(["sh", "-c", command], workers)
    tap.equal(done.stderr, b"", f"standard error of {command}")
    tap.equal(done.stdout.decode(), expected, f"output of {command}")
    tap.equal(done.returncode, 0, f"exit status of {command}")


def test_of(source, workers):
    def test():
        found = samples(source)
        assert found, f"{source.name} has no sample"
        for command, expected in found:
            check(command, expected, workers)

    test.__name__ = f"{source.stem} prints its sample with {workers} workers"
    return test


def the_pipeline_takes_lines_of_any_length_and_any_bytes_in_order():
    lines = [b"", b"x" * 300000, bytes(byte for byte in range(256) if byte != 10), b"\xff" * 70000]
    lines += [b"line %d" % number for number in range(5000)] + [b"no newline at the end"]
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    quoted = {byte: bytes([byte]) if byte in plain else b"%%%02X" % byte for byte in range(256)}
    done = run(["./03_imap_pipeline"], 4, b"\n".join(lines))
    tap.equal(done.stdout == b"\n".join(b"".join(quoted[byte] for byte in line) for line in lines), True, "equality")
    tap.equal((done.returncode, done.stderr), (0, b""))


def the_pipeline_of_nothing_is_nothing():
    done = run(["./03_imap_pipeline"], 2)
    tap.equal((done.returncode, done.stdout, done.stderr), (0, b"", b""))


def the_pipeline_says_why_its_input_failed():
    done = run(["sh", "-c", "exec ./03_imap_pipeline </"], 2)
    tap.equal((done.returncode, done.stdout), (1, b""))
    tap.equal(done.stderr, b"standard input: Is a directory\n")


def the_pipeline_needs_no_end_of_its_input():
    done = run(["sh", "-c", "yes 'a b' | ./03_imap_pipeline | head -n 100000 | tail -n 1"], 2)
    tap.equal(done.stdout, b"a%20b\n")


def the_pipeline_ends_where_nobody_reads_on():
    done = run(["sh", "-c", "yes | ./03_imap_pipeline >/dev/full"], 2)
    tap.equal((done.returncode, done.stderr), (1, b"standard output cannot be written\n"))


def a_bad_number_of_cpus_is_said_and_not_guessed():
    done = run(["./01_map"], "x")
    tap.equal((done.returncode, done.stdout), (1, b""))
    tap.contains(done.stderr, b"CREW_INVALID")
    tap.contains(done.stderr, b"CREW_CPU_COUNT")


def main():
    examples = sorted(SOURCES.glob("[0-9][0-9]_*.c"))
    assert examples, "no examples"
    tests = [test_of(source, workers) for source in examples for workers in (1, 4)]
    tests += [
        the_pipeline_takes_lines_of_any_length_and_any_bytes_in_order,
        the_pipeline_of_nothing_is_nothing,
        the_pipeline_says_why_its_input_failed,
        the_pipeline_needs_no_end_of_its_input,
        the_pipeline_ends_where_nobody_reads_on,
        a_bad_number_of_cpus_is_said_and_not_guessed,
    ]
    return tap.run(tests)


if __name__ == "__main__":
    sys.exit(main())
