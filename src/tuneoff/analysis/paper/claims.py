"""The claims of Molnár and Poleczki, each with a rule, a test and a verdict from the study that is reported.

A claim is tested as the study ran it: on its images, with its epochs and its budget. One that the study cannot test says what is
missing. A claim with several parts is confirmed where every part is (an intersection-union test needs no correction), and refuted
where one is, its p value multiplied by the number of parts (Bonferroni). What is neither stays undecided.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq
from typing import Literal

from ...core.runtime.extras import importable
from ...core.space import PAPER_SPACE, Model, Value, key_of
from ...core.study import Study
from ...core.text import count, difference, duration, listed, percent, plural, score
from ...methods.registry import stand_ins
from ...objectives import objective_of
from ..stats.paired_tests import ALPHA, FEWEST_SEEDS, above, below, differences, within
from ..summaries import TEN
from ..trial_rows import TrialRow, ranked
from .tables import TITLES

Verdict = Literal["confirmed", "refuted", "undecided", "not testable"]
FEW, MANY = 120, 1400
"""Configurations of the paper's two random searches."""
VERDICT_CLASS: Mapping[Verdict, str] = {
    "confirmed": "complete",
    "refuted": "failed",
    "undecided": "missing",
    "not testable": "missing",
}
"""How the page colours them: as it does the states of cells."""
NEGLIGIBLE = 0.005
SIMILAR = 0.01
"""Shares of 1: half a point of accuracy is negligible, methods within one point are similar. The paper gives no bounds."""
FAR_LESS_TIME = 0.25
TOP = 0.1
FEWEST_DRAWS = 100
BEST_VALUES: Mapping[str, Value] = {
    "optimizer": "Adam",
    "learning_rate": 0.001,
    "activation": "relu",
    "neurons": 256,
    "filters1": 16,
    "filters2": 128,
}
DROPOUT = 0.2


class Finding(Model):
    """One part of a claim on one data set."""

    dataset: str
    said: str
    test: str
    p: float | None  # of the verdict where there is one, else the smaller of the two that were looked at; None without a test
    verdict: Verdict
    counts: bool = True  # whether the claim's verdict rests on it


class Claim(Model):
    """One of the paper's claims, and what this study says of it."""

    number: str
    claim: str
    rule: str
    verdict: Verdict
    findings: list[Finding]
    missing: str | None  # what it would take, where it is not testable


@dataclass(frozen=True)
class Found:
    """One method's trials on one data set, by seed, in the order of the asks."""

    dataset: str
    label: str
    seeds: Mapping[int, Sequence[TrialRow]]

    def each(self, of: Callable[[Sequence[TrialRow]], float | None]) -> dict[int, float]:
        """A number of each seed's trials, for the seeds that have it."""
        return {seed: value for seed, rows in self.seeds.items() if (value := of(rows)) is not None}


def claims(study: Study, rows: Iterable[TrialRow]) -> list[Claim]:
    """C1 to C6; none where the study has not the paper's hyperparameters, or none of its data sets, or scipy is missing."""
    ours = [d.name for d in study.datasets if d.path is None and d.name in TITLES]
    if set(study.space) != set(PAPER_SPACE) or not ours or not importable("scipy"):
        return []
    found = _Study(study, ours, [r for r in rows if not r.own_models])
    return [
        _trials_suffice(found),
        _grid_is_best(found),
        _end_alike(found),
        _bayes_fits(found),
        _settings(found),
        _hyperband(found),
    ]


class _Study:
    """The study's trials by data set and the paper's method."""

    def __init__(self, study: Study, datasets: Sequence[str], rows: Sequence[TrialRow]) -> None:
        self.study = study
        self.datasets = datasets
        self._rows: dict[tuple[str, str], dict[int, list[TrialRow]]] = {}
        for row in sorted(rows, key=lambda r: (r.seed, r.trial)):
            self._rows.setdefault((row.dataset, row.method), {}).setdefault(row.seed, []).append(row)

    def all(self, dataset: str, kind: str) -> list[Found]:
        """All methods that stand for one of the paper's, the nearest first."""
        labels = [m.label for name in stand_ins(kind) for m in self.study.methods if m.name == name]
        return [Found(dataset, la, self._rows[dataset, la]) for la in labels if (dataset, la) in self._rows]

    def one(self, dataset: str, kind: str) -> Found | None:
        return next(iter(self.all(dataset, kind)), None)

    def three(self, dataset: str) -> dict[str, Found]:
        """Random, Bayes and HyperBand, where the study has all three with enough seeds in common; else none."""
        found = {kind: one for kind in ("random", "bayes", "hyperband") if (one := self.one(dataset, kind))}
        common = set.intersection(*(set(f.seeds) for f in found.values())) if found else set()
        return found if len(found) == 3 and len(common) >= FEWEST_SEEDS else {}


THREE = f"Random Search, Bayes and HyperBand on one data set, with {FEWEST_SEEDS} seeds in common"


def _claim(number: str, claim: str, rule: str, findings: Sequence[Finding], missing: str) -> Claim:
    verdicts = [f.verdict for f in findings if f.counts]
    if not verdicts:
        return Claim(number=number, claim=claim, rule=rule, verdict="not testable", findings=[], missing=missing)
    verdict: Verdict = "undecided"
    if "refuted" in verdicts:
        verdict = "refuted"
    elif all(v == "confirmed" for v in verdicts):
        verdict = "confirmed"
    return Claim(number=number, claim=claim, rule=rule, verdict=verdict, findings=list(findings), missing=None)


def _finding(dataset: str, said: str, test: str, speaks_for: float, against: float) -> Finding:
    verdict: Verdict = "confirmed" if speaks_for < ALPHA else "refuted" if against < ALPHA else "undecided"
    p = {"confirmed": speaks_for, "refuted": against}.get(verdict, min(speaks_for, against))
    return Finding(dataset=dataset, said=said, test=test, p=p, verdict=verdict)


# C1


def _trials_suffice(found: _Study) -> Claim:
    findings = []
    for dataset in found.datasets:
        if random := found.one(dataset, "random"):
            findings += [f for metric in ("accuracy", "val_accuracy") if (f := _gain(random, metric))]
    return _claim(
        "C1",
        f"{FEW} configurations suffice: {count(MANY)} random ones improve the best accuracy negligibly.",
        f"Negligible: the best of a seed's first {count(MANY)} random configurations is less than"
        f" {100 * NEGLIGIBLE:g} points above the best of its first {FEW}.",
        findings,
        f"a random search of {count(MANY)} configurations with {FEWEST_SEEDS} seeds",
    )


def _gain(random: Found, metric: str) -> Finding | None:
    long = {seed: rows[:MANY] for seed, rows in random.seeds.items() if len(rows) >= MANY}
    few = {seed: best for seed, rows in long.items() if (best := _best(rows[:FEW], metric)) is not None}
    many = {seed: best for seed, rows in long.items() if (best := _best(rows, metric)) is not None}
    gains = differences(many, few)
    if len(gains) < FEWEST_SEEDS:
        return None
    said = (
        f"Best {_named(metric)} after {FEW}: {score(statistics.fmean(few.values()), metric)}, after {count(MANY)}:"
        f" {score(statistics.fmean(many.values()), metric)} (means of {plural(len(gains), 'seed')})."
    )
    return _finding(random.dataset, said, "t test of the gain", below(gains, NEGLIGIBLE), above(gains, NEGLIGIBLE))


# C2


def _grid_is_best(found: _Study) -> Claim:
    findings = []
    if "mnist" in found.datasets and (grid := _whole_grid(found)):
        top = _best([r for rows in grid.seeds.values() for r in rows], "accuracy")
        for kind in ("random", "bayes", "hyperband"):
            one = found.one("mnist", kind)
            if one and top is not None and len(one.seeds) >= FEWEST_SEEDS:
                findings += _beside_the_grid(grid, one, top)
    return _claim(
        "C2",
        "Grid Search reaches the best training accuracy on MNIST; the guided methods come within 1 % of it for far less time.",
        "The grid's best training accuracy is above the mean of each method's best; that mean is above 99 % of the grid's;"
        f" the method's trials took less than {percent(FAR_LESS_TIME)} of the grid's seconds.",
        findings,
        "a search of the whole grid on MNIST, beside another method with "
        f"{FEWEST_SEEDS} seeds: budget.trials of at least {count(_grid_size(found.study))}",
    )


def _grid_size(study: Study) -> int:
    try:
        return study.space.grid_size()
    except ValueError:  # a range without levels: no grid can search it
        return PAPER_SPACE.grid_size()


def _whole_grid(found: _Study) -> Found | None:
    size = _grid_size(found.study)
    return next((g for g in found.all("mnist", "grid") if any(len(rows) >= size for rows in g.seeds.values())), None)


def _beside_the_grid(grid: Found, one: Found, top: float) -> list[Finding]:
    best = list(one.each(lambda rows: _best(rows, "accuracy")).values())
    mine, whole = (statistics.fmean(f.each(_seconds).values()) for f in (one, grid))
    mean = score(statistics.fmean(best), "accuracy")
    name, test = one.label, "t test of the seeds' best"
    quicker: Verdict = "confirmed" if mine < FAR_LESS_TIME * whole else "refuted"
    near = 0.99 * top
    said = f"{name} took {duration(mine)}, the grid {duration(whole)}."
    return [
        _finding(
            "mnist", f"The grid's best: {score(top, 'accuracy')}; {name}: {mean}.", test, below(best, top), above(best, top)
        ),
        _finding(
            "mnist",
            f"{name} reaches {score(statistics.fmean(best) / top, 'accuracy')} of it.",
            test,
            above(best, near),
            below(best, near),
        ),
        Finding(dataset="mnist", said=said, test="the seconds themselves", p=None, verdict=quicker),
    ]


# C3


def _end_alike(found: _Study) -> Claim:
    findings = []
    for dataset in found.datasets:
        ends = {f.label: f.each(lambda rows: _end(found.study, rows)) for f in found.three(dataset).values()}
        labels = list(ends)
        for place, first in enumerate(labels):
            for second in labels[place + 1 :]:
                values = differences(ends[first], ends[second])
                further = 6 * min(above(values, SIMILAR), below(values, -SIMILAR))
                said = f"{first} less {second}: {difference(statistics.fmean(values), 'accuracy')} points of validation accuracy."
                findings.append(
                    _finding(dataset, said, "two one-sided paired t tests", within(values, SIMILAR), min(1.0, further))
                )
    return _claim(
        "C3",
        "Random Search, Bayes and HyperBand end with similar validation accuracy on every data set.",
        f"Similar: the mean difference of the seeds' best trials lies within {100 * SIMILAR:g} point, for each pair.",
        findings,
        THREE,
    )


# C4


def _bayes_fits(found: _Study) -> Claim:
    findings = []
    for dataset in found.datasets:
        three = found.three(dataset)
        if three:
            bayes = three["bayes"]
            for other in (three["random"], three["hyperband"]):
                findings += [_higher(bayes, other, *what) for what in ((_fit, "training accuracy"), (_gap, "gap"))]
    return _claim(
        "C4",
        "Bayes has the best training accuracy on all three data sets, and fits the training set harder than it generalises.",
        "Of each seed's trial with the best training accuracy: its training accuracy, and the gap from there to its validation"
        " accuracy, are larger for Bayes than for Random Search and for HyperBand.",
        findings,
        THREE,
    )


def _higher(bayes: Found, other: Found, of: Callable[[Sequence[TrialRow]], float | None], what: str) -> Finding:
    values = differences(bayes.each(of), other.each(of))
    mean = difference(statistics.fmean(values), "accuracy") if values else "unknown"
    said = f"{bayes.label} less {other.label}: {mean} points of {what}."
    return _finding(bayes.dataset, said, "paired t test", above(values, 0.0), min(1.0, 4 * below(values, 0.0)))


# C5


def _settings(found: _Study) -> Claim:
    findings = []
    if "fashion_mnist" in found.datasets:
        wanted_names = {*BEST_VALUES, "dropout"}
        draws = [r for f in found.all("fashion_mnist", "random") for rows in f.seeds.values() for r in rows]
        draws = [r for r in draws if wanted_names <= r.config.keys()]
        if objective_of(found.study).trainings_repeat_exactly:  # a recorded training that is drawn again says nothing new
            draws = list({key_of(r.config): r for r in draws}.values())
        scored = ranked(draws, found.study.objective)
        if len(scored) >= FEWEST_DRAWS:
            top = scored[: round(TOP * len(scored))]
            rest = scored[len(top) :]
            space = found.study.space
            for name, wanted in BEST_VALUES.items():
                there = space[name].contains(wanted)
                findings.append(_value(name, partial(eq, wanted), str(wanted), top, rest) if there else _no_such(name, wanted))
            findings.append(_value("dropout", lambda v: float(v) < DROPOUT, f"below {DROPOUT}", top, rest))
    return _claim(
        "C5",
        "On Fashion-MNIST the best settings are Adam, learning rate 0.001, ReLU, 256 neurons, 16 then 128 filters, and dropout"
        f" mostly below {DROPOUT}.",
        f"Among the best {percent(TOP)} of random draws each value is more frequent than among the others (refuted: less)."
        " On a table each configuration counts once.",
        findings,
        f"{FEWEST_DRAWS} random draws on Fashion-MNIST, over all seeds",
    )


def _value(name: str, wanted: Callable[[Value], bool], said: str, top: Sequence[TrialRow], rest: Sequence[TrialRow]) -> Finding:
    from scipy import stats

    counted = [sum(wanted(r.config[name]) for r in part) for part in (top, rest)]
    table = [[counted[0], len(top) - counted[0]], [counted[1], len(rest) - counted[1]]]
    more, less = (float(stats.fisher_exact(table, alternative=way).pvalue) for way in ("greater", "less"))
    text = f"{name} {said}: {percent(counted[0] / len(top))} of the best {count(len(top))}"
    text += f", {percent(counted[1] / len(rest))} of the other {count(len(rest))}."
    return _finding("fashion_mnist", text, "Fisher's exact test", more, min(1.0, (len(BEST_VALUES) + 1) * less))


def _no_such(name: str, wanted: Value) -> Finding:
    said = f"{name} {wanted} is not in this study's space."
    return Finding(dataset="fashion_mnist", said=said, test="none", p=None, verdict="not testable")


# C6


def _hyperband(found: _Study) -> Claim:
    """The verdict rests on what is nearest to the paper's HyperBand; the others stand beside."""
    findings = []
    for dataset in found.datasets:
        others = [f for kind in ("random", "bayes") if (f := found.one(dataset, kind))]
        for place, hyperband in enumerate(found.all(dataset, "hyperband")):
            tens = [(o, differences(hyperband.each(_ten(found)), o.each(_ten(found)))) for o in others]
            if tens and all(len(values) >= FEWEST_SEEDS for _, values in tens):
                findings.append(_less_trained(found, hyperband, tens).model_copy(update={"counts": place == 0}))
    return _claim(
        "C6",
        "HyperBand's ten best trials train far less well than those of the other two.",
        "Far less: the mean training accuracy of a seed's ten best trials by the objective is more than"
        f" {100 * SIMILAR:g} point below that of Random Search, and of Bayes where the study has it.",
        findings,
        f"HyperBand and Random Search on one data set, with {FEWEST_SEEDS} seeds in common",
    )


def _less_trained(found: _Study, hyperband: Found, tens: Sequence[tuple[Found, Sequence[float]]]) -> Finding:
    full = found.study.budget.epochs_per_trial
    whole = hyperband.each(lambda rows: float(sum(_epochs(r) >= full for r in _ten_best(found, rows))))
    alone = hyperband.each(lambda rows: _mean_accuracy(_ten_best(found, [r for r in rows if _epochs(r) >= full])))
    beside = listed([f"{difference(statistics.fmean(values), 'accuracy')} points beside {o.label}" for o, values in tens])
    said = (
        f"{hyperband.label}: {score(statistics.fmean(hyperband.each(_ten(found)).values()), 'accuracy')}, {beside};"
        f" {statistics.fmean(whole.values()):.1f} of the ten had {full} epochs of training."
    )
    if alone:
        said += f" The best ten of those alone: {score(statistics.fmean(alone.values()), 'accuracy')}."
    lower = max(below(values, -SIMILAR) for _, values in tens)
    not_lower = min(1.0, len(tens) * min(above(values, -SIMILAR) for _, values in tens))
    return _finding(hyperband.dataset, said, "paired t tests", lower, not_lower)


def _epochs(row: TrialRow) -> int:
    """Epochs that this trial's weights were trained: not its parent's, where it took over nothing."""
    return row.epochs - row.first_epoch if row.inherit == "nothing" else row.epochs


# What is read off a search's trials


def _ten(found: _Study) -> Callable[[Sequence[TrialRow]], float | None]:
    return lambda rows: _mean_accuracy(_ten_best(found, rows))


def _ten_best(found: _Study, rows: Sequence[TrialRow]) -> list[TrialRow]:
    return ranked(rows, found.study.objective)[:TEN]


def _mean_accuracy(rows: Sequence[TrialRow]) -> float | None:
    known = [r.accuracy for r in rows if r.accuracy is not None]
    return statistics.fmean(known) if known else None


def _best(rows: Sequence[TrialRow], metric: str) -> float | None:
    return max((v for r in rows if (v := getattr(r, metric)) is not None), default=None)


def _end(study: Study, rows: Sequence[TrialRow]) -> float | None:
    """The validation accuracy of the search's incumbent."""
    best = ranked(rows, study.objective)
    return best[0].val_accuracy if best else None


def _fit(rows: Sequence[TrialRow]) -> float | None:
    return _best(rows, "accuracy")


def _gap(rows: Sequence[TrialRow]) -> float | None:
    known = [r for r in rows if r.accuracy is not None and r.val_accuracy is not None]
    best = max(known, key=lambda r: r.accuracy or 0.0, default=None)
    return (best.accuracy or 0.0) - (best.val_accuracy or 0.0) if best else None


def _seconds(rows: Sequence[TrialRow]) -> float:
    return sum((r.seconds or 0.0) + r.method_seconds for r in rows)


def _named(metric: str) -> str:
    return {"accuracy": "training accuracy", "val_accuracy": "validation accuracy"}[metric]
