# SPDX-License-Identifier: MIT
"""What is measured: the rows, in the order of the table. What each workload does is in README.md."""

import typing


class Row(typing.NamedTuple):
    id: str  # what BENCH= names, and the table's first column
    workload: str  # what the programs are asked for
    smoke: int  # N of a smoke run: well under a second
    workers: int = 2
    n: int = 0  # 0: the program's own default
    short: int = 0  # N for libraries that no target of this row names; 0: the same
    libraries: str = ""  # who is asked unless LIBS= says it; "": all
    together: bool = False  # all libraries sleep at the same time: their samples need not wait for each other
    metric: str = "{}"  # the name of a metric in the table
    by_name: bool = False  # measured only where BENCH= names it

    def name(self, metric):
        """A program's metric as it is called in the table."""
        wall = metric.removesuffix("-cpu")
        return self.metric.format(wall) + metric.removeprefix(wall)


LIBRARIES = (
    "crewpool crewpool-again tbb tbb-direct gomp libomp glib libuv apr eigen pthreadpool go rayon py-threadpool "
    "py-executor py-crewpool py-crewpool-again py-crewpool-executor py-crewpool-executor-again raw"
).split()

# What is measured runs twice, so that the table shows what difference is none.
TWICE = ("crewpool", "py-crewpool", "py-crewpool-executor")
AGAIN = "-again"

# Rows of a program under another name: the program, and what is added to its environment.
ALIASES = {name + AGAIN: (name, {}) for name in TWICE} | {"tbb-direct": ("tbb", {"BENCH_TBB_DIRECT": "1"})}

# Who has a few rows only.
ONLY = {
    "tbb-direct": ("apply-hot", "apply-cold"),  # the others are the same
    "raw": ("blocking", "start-1", "start-8", "trickle"),
    **{name + AGAIN: ("python",) for name in TWICE if name.startswith("py-")},
}

# Who would take minutes: N in one row.
SIZES = {("py-executor", "map-cheap"): 10000, ("py-crewpool-executor", "map-cheap"): 10000}

# Programs that need not be built, with their first argument.
SCRIPTS = {
    name: ("python/pools", name) for name in ("py-threadpool", "py-executor", "py-crewpool", "py-crewpool-executor")
}


def crowd(workers):
    few = "crewpool crewpool-again tbb"
    return [
        Row("crowd", "fanout", 100, workers=workers, libraries=few, metric="fanout-{}"),
        Row("crowd", "map-20us", 100, workers=workers, libraries=few, metric="map-20us-{}"),
        Row("crowd", "irregular", 100, workers=workers, libraries=few, metric="irregular-{}"),
    ]


def depth(exponent):
    name = f"{{}}-1e{exponent}"
    return Row("depth", "depth", 100, n=10**exponent, libraries="crewpool crewpool-again tbb", metric=name)


def python(workload, smoke, n, which="threadpool executor", workers=2, metric="{}"):
    """The sizes that goals of the Python module speak of."""
    ours = {"threadpool": "py-crewpool", "executor": "py-crewpool-executor"}
    names = [f"py-{name} {ours[name]} {ours[name]}{AGAIN}" for name in which.split()]
    return Row("python", workload, smoke, workers, n, libraries=" ".join(names), metric=metric, by_name=True)


ROWS = [
    Row("fanout", "fanout", 100),
    Row("fanout-detached", "fanout-detached", 100),
    Row("fanout-bulk", "fanout-bulk", 100),
    Row("producers", "producers", 100, short=100000),
    Row("apply-hot", "apply-hot", 100),
    Row("handoff-hot", "handoff-hot", 100),
    Row("apply-cold", "apply-cold", 10, short=100),
    Row("handoff-cold", "handoff-cold", 10, short=100),
    Row("map-cheap", "map-cheap", 1000),
    Row("map-20us", "map-20us", 50),
    Row("map-small", "map-small", 5),
    Row("map-empty", "map-empty", 100),
    Row("map-2-long", "map-2-long", 1),
    Row("spawn-then-work", "spawn-then-work", 5, short=50),
    Row("nested", "nested", 12),
    Row("irregular", "irregular", 20, short=500),
    Row("stream", "stream", 2000),
    Row("blocking", "blocking", 100, workers=64),
    Row("start-1", "start-1", 3, workers=8),
    Row("start-8", "start-8", 3, workers=8),
    Row("memory", "memory", 1000, short=200000),
    Row("idle", "idle", 20, workers=8, together=True),
    Row("trickle", "trickle", 20, short=500),
    *crowd(8),
    *crowd(16),
    depth(4),
    depth(5),
    depth(6),
    depth(7),
    python("fanout", 100, 10**6, metric="many-{}"),
    python("handoff-hot", 100, 10**4, metric="one-{}"),
    python("imap", 100, 10**6, "threadpool", metric="imap-{}"),
    python("map-cheap", 1000, 10**6, "threadpool", metric="map-{}"),
    python("create", 3, 200, workers=8, metric="create-{}"),
    python("start-8", 3, 200, workers=8, metric="start-8-{}"),
    python("memory", 1000, 10**5, metric="memory-{}"),
    python("blocking", 100, 2000, workers=64, metric="sleep-{}"),
    python("mixed", 20, 2000, metric="mixed-{}"),
]
