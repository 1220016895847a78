# SPDX-License-Identifier: MIT
"""What was measured, as rows for programs (TSV) and as tables for people (Markdown)."""

import statistics

from plan import AGAIN, TWICE
from targets import TARGETS

US = "crewpool"


class Results:
    """All values: {(id, workers): {library: {metric: [value, …]}}}, and the units."""

    def __init__(self):
        self.groups = {}
        self.units = {}
        self.notes = []  # texts about samples that failed or were disturbed
        self.missing = {}  # {(id, workers): {library: reason}}

    def add(self, row, library, sample):
        key = row.id, row.workers
        if sample.missing:
            self.missing.setdefault(key, {})[library] = sample.missing
        metrics = self.groups.setdefault(key, {}).setdefault(library, {})
        for metric, (unit, value) in sample.figures.items():
            name = row.name(metric)
            self.units[key, name] = unit
            metrics.setdefault(name, []).append(value)

    def values(self, key, library, metric):
        return self.groups.get(key, {}).get(library, {}).get(metric, [])

    def median(self, key, library, metric):
        values = self.values(key, library, metric)
        return statistics.median(values) if values else None

    def ours(self, key, metric, us=US):
        """crewpool's, of both its rows."""
        values = self.values(key, us, metric) + self.values(key, us + AGAIN, metric)
        return statistics.median(values) if values else None

    def spread(self, key, metric, us=US):
        """By how much the two rows of crewpool differ, as a part of the smaller one."""
        first, again = self.median(key, us, metric), self.median(key, us + AGAIN, metric)
        return abs(first - again) / min(first, again) if first and again else 0


# ---- TSV ----

COLUMNS = "workload library workers metric unit median min max runs".split()


def tsv(results, head):
    yield from (f"# {what}: {value}" for what, value in head)
    yield from (f"# {note}" for note in results.notes)
    yield "\t".join(COLUMNS)
    for key, libraries in results.groups.items():
        for library, metrics in libraries.items():
            for metric, values in metrics.items():
                figures = (statistics.median(values), min(values), max(values))
                fields = (key[0], library, key[1], metric, results.units[key, metric])
                yield "\t".join([*map(str, fields), *(f"{figure:.6g}" for figure in figures), str(len(values))])


# ---- Markdown ----


def digits(value):
    """Three digits that count, no exponent."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3}f}"


def table(columns, rows):
    yield "| " + " | ".join(columns) + " |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def has_ratio(metric):
    return not metric.endswith("-cpu") and metric != "serial"


def base_of(results, key):
    """Whose figure the others are multiples of."""
    return next((name for name in TWICE if name in results.groups[key]), US)


def cells(results, key, library, metric):
    figure, base = results.median(key, library, metric), results.median(key, base_of(results, key), metric)
    yield digits(figure)
    if has_ratio(metric):
        yield digits(figure / base) if figure is not None and base else "–"


def metrics_of(results, key):
    return list(dict.fromkeys(metric for metrics in results.groups[key].values() for metric in metrics))


def group_table(results, key):
    metrics = metrics_of(results, key)
    columns = ["library"]
    for metric in metrics:
        columns += [f"{metric} {results.units[key, metric]}", "×"][: 2 if has_ratio(metric) else 1]
    libraries = [library for library, figures in results.groups[key].items() if figures]
    rows = [[name, *(cell for metric in metrics for cell in cells(results, key, name, metric))] for name in libraries]
    yield from table(columns, rows)
    us = base_of(results, key)
    spreads = (f"{metric} {100 * results.spread(key, metric, us):.1f} %" for metric in metrics)
    if results.groups[key].get(us + AGAIN):
        yield f"A/A spread: {', '.join(spreads)}."
    missing = results.missing.get(key, {})
    if missing:
        yield f"Nothing of the kind: {', '.join(missing)}."
    yield ""


# ---- targets ----


def reference(results, target):
    """What crewpool's figure is divided by; None if that was not measured."""
    key = target.id, target.workers
    if not target.against:
        return 1
    if target.against.startswith("="):
        return results.ours(key, target.against[1:], target.of)
    others = [results.median(key, library, target.metric) for library in target.against.split()]
    return min((other for other in others if other is not None), default=None)


def measured(results, target):
    ours, other = results.ours((target.id, target.workers), target.metric, target.of), reference(results, target)
    return ours / other if ours is not None and other else None


def verdict(figure, limit, spread, at_least):
    if figure is None or limit is None:
        return "–"
    beyond = limit / figure if at_least else figure / limit
    return "yes" if beyond <= 1 else "within the spread" if beyond <= 1 + spread else "**no**"


def bound(target, limit, unit):
    if limit is None:
        return "–"
    what = f"{limit:g}{'' if unit == 'ratio' else ' ' + unit}" if not target.against else f"{limit:g} × {other_name(target)}"
    return ("≥ " if target.at_least else "≤ ") + what


def other_name(target):
    return target.against.removeprefix("=").replace(" ", " or ")


def target_row(results, target):
    key = target.id, target.workers
    figure, spread = measured(results, target), results.spread(key, target.metric, target.of)
    unit = results.units.get((key, target.metric), "")
    return [
        f"{target.id}, {target.metric}" + (f", {target.workers} workers" if target.id == "crowd" else ""),
        bound(target, target.must, unit),
        digits(figure),
        verdict(figure, target.must, spread, target.at_least),
        bound(target, target.aim, unit),
        verdict(figure, target.aim, spread, target.at_least),
    ]


def markdown(results, head):
    yield from (f"- {what}: {value}" for what, value in head)
    yield from (f"- {note}" for note in results.notes)
    yield ""
    yield "Medians; × is the multiple of crewpool's; -cpu is the CPU time of all threads."
    yield ""
    for key in results.groups:
        yield f"### {key[0]}, {key[1]} workers"
        yield ""
        yield from group_table(results, key)
    asked = [target for target in TARGETS if (target.id, target.workers) in results.groups]
    if asked:
        yield "### Targets"
        yield ""
        columns = ["target", "must", "measured", "holds", "aim", "reached"]
        yield from table(columns, (target_row(results, target) for target in asked))
