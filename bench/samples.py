# SPDX-License-Identifier: MIT
"""Runs the programs bench-<library>: who is there, one sample of one of them, and what else the machine did meanwhile."""

import math
import os
import pathlib
import resource
import subprocess
import time
import typing

from plan import ALIASES, LIBRARIES, ONLY, SCRIPTS

NOTHING_OF_THE_KIND = 77
TIME_LIMIT = 120  # s, of one sample
OTHERS_MAX = 0.15  # of one core
TICKS = os.sysconf("SC_CLK_TCK")


class Library(typing.NamedTuple):
    name: str
    command: tuple
    environment: dict

    def has(self, row):
        return row.id in ONLY.get(self.name, (row.id,))

    def version(self):
        asked = subprocess.run([*self.command, "version"], capture_output=True, text=True, check=False)
        return asked.stdout.strip() or "?"


class Sample(typing.NamedTuple):
    figures: dict = {}  # {metric: (unit, value)}
    missing: str = ""  # the library has nothing of the kind
    failure: str = ""
    others: float = 0  # CPUs that anything else used meanwhile, where that was much


def find_libraries(directory):
    """Those whose program is in the directory, and those that are scripts, in the order of the table."""
    here = pathlib.Path(__file__).resolve().parent
    for name in LIBRARIES:
        program, environment = ALIASES.get(name, (name, {}))
        script, *arguments = SCRIPTS.get(program, ("",))
        path = here / script if script else pathlib.Path(directory).resolve() / f"bench-{program}"
        if path.is_file() and os.access(path, os.X_OK):
            yield Library(name, (str(path), *arguments), environment)


def parse(text):
    figures = {}
    for line in text.splitlines():
        metric, unit, value = line.split("\t")
        figures[metric] = (unit, float(value))
        if not metric or not unit or not math.isfinite(float(value)):
            raise ValueError(line)
    if not figures:
        raise ValueError("no line")
    return figures


def last_line(text):
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def take(library, row, n):
    """One sample; n 0 is the program's default."""
    command = [*library.command, row.workload, str(row.workers), *([f"N={n}"] if n else [])]
    environment = {**os.environ, **library.environment}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return Sample(failure=f"not done after {TIME_LIMIT} s")
    if done.returncode == NOTHING_OF_THE_KIND:
        return Sample(missing=last_line(done.stderr))
    if done.returncode != 0:
        return Sample(failure=f"status {done.returncode}: {last_line(done.stderr)}")
    try:
        return Sample(figures=parse(done.stdout))
    except ValueError as error:
        return Sample(failure=f"not a metric, a unit and a number: {error}")


# ---- disturbance ----


def busy_time():
    """CPU time of the whole machine so far in seconds, and what a hypervisor took from it."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def own_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def watched(library, row, n):
    """A sample, and how many CPUs were busy with something else: 0 where that is too little to tell or to matter."""
    wall, busy, own = time.monotonic(), busy_time(), own_time()
    sample = take(library, row, n)
    wall, busy, own = time.monotonic() - wall, busy_time() - busy, own_time() - own
    others = busy - own
    return sample._replace(others=others / wall if others > max(OTHERS_MAX * wall, 5 / TICKS) else 0)


def take_quietly(library, row, n, attempts=3):
    """A sample during which the machine did little else, or the last of some attempts."""
    sample = Sample()
    for _ in range(attempts):
        sample = watched(library, row, n)
        if not sample.figures or not sample.others:
            break
    return sample
