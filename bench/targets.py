# SPDX-License-Identifier: MIT
"""What crewpool is to reach, as data."""

import typing


class Target(typing.NamedTuple):
    id: str
    metric: str
    against: str  # libraries (the best of them counts), "=metric" for another metric of crewpool, "": the figure itself
    must: float | None  # of the ratio to `against`, or of the figure
    aim: float | None = None
    workers: int = 2
    at_least: bool = False  # else at most
    of: str = "crewpool"


def python(metric, must, executor=None, workers=2):
    """Of the module's thread pool beside the original; `executor` is the limit of the executor."""
    yield Target("python", metric, "py-threadpool", must, workers=workers, of="py-crewpool")
    if executor:
        yield Target("python", metric, "py-executor", executor, workers=workers, of="py-crewpool-executor")


TARGETS = [
    Target("fanout", "cold", "tbb", 0.35),
    Target("fanout", "warm", "tbb", 0.25, 0.12),
    Target("fanout-detached", "cold", "tbb", 0.25, 0.07),
    Target("fanout-detached", "warm", "tbb", 0.25, 0.07),
    Target("fanout-bulk", "cold", "", 15, 5),
    Target("fanout-bulk", "warm", "", 15, 5),
    Target("producers", "cold", "tbb", 0.6, 0.2),
    Target("producers", "warm", "tbb", 0.6, 0.2),
    Target("apply-hot", "mean", "tbb", 0.7, 0.4),
    Target("apply-hot", "p50", "tbb", None, 0.35),
    Target("handoff-hot", "mean", "glib", 0.1),
    Target("handoff-hot", "mean", "", None, 500),
    Target("apply-cold", "mean", "tbb", 0.5, 0.05),
    Target("apply-cold", "same-mean", "tbb", 0.5, 0.05),
    Target("apply-cold", "apart-mean", "tbb", 0.5, 0.05),
    Target("handoff-cold", "mean", "glib", 1.0),
    Target("handoff-cold", "same-mean", "glib", 1.0),
    Target("handoff-cold", "apart-mean", "glib", 1.0),
    Target("map-cheap", "region", "gomp libomp", 1.05, 1.0),
    Target("map-20us", "region", "gomp libomp", 1.03),
    Target("map-small", "region", "tbb", 1.03),
    Target("map-empty", "mean", "tbb", 0.8, 0.4),
    Target("map-2-long", "region", "", 5300),
    Target("spawn-then-work", "p99", "", 200, 60),
    Target("nested", "spawn", "tbb", 0.6, 0.25),
    Target("irregular", "efficiency", "", 0.985, 0.995, at_least=True),
    Target("stream", "item", "tbb", 0.5, 0.17),
    Target("blocking", "total", "raw", 1.03, workers=64),
    Target("start-1", "cycle", "tbb", 0.5, 0.25, workers=8),
    Target("start-8", "cycle", "raw", 1.2, workers=8),
    Target("memory", "bytes", "", 128, 80),
    Target("idle", "cpu", "", 0.5, workers=8),
    Target("trickle", "cpu", "glib", 0.95),
    Target("trickle", "mean", "glib", 0.95),
    *[
        Target("crowd", metric, "tbb", must, workers=workers, at_least=at_least)
        for workers in (8, 16)
        for metric, must, at_least in (
            ("fanout-cold", 0.5, False),
            ("fanout-warm", 0.5, False),
            ("map-20us-region", 1.05, False),
            ("irregular-efficiency", 0.95, True),
        )
    ],
    Target("depth", "cold-1e7", "=cold-1e6", 1.5),
    Target("fanout", "cold-cpu", "=cold", 2.2),
    Target("fanout", "warm-cpu", "=warm", 2.2),
    Target("stream", "item-cpu", "=item", 2.2),
    Target("handoff-hot", "mean-cpu", "=mean", 2.2),
    *python("many-cold", 0.1, 0.25),
    *python("one-mean", 0.2),
    *python("imap-item", 0.25),
    *python("map-region", 1.0),
    Target("python", "map-region", "=map-serial", 1.15, of="py-crewpool"),
    *python("create-cycle", 0.2, workers=8),
    *python("memory-bytes", 1 / 3),
    *python("sleep-total", 1.0, 1.0, workers=64),
    *python("mixed-region", 1.0, 1.0),
]


def named(row_id):
    """The libraries that a row's targets name."""
    against = " ".join(target.against for target in TARGETS if target.id == row_id)
    return {"crewpool", "crewpool-again", *against.split()}
