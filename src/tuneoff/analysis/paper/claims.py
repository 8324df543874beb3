"""Test the claims of Molnár and Poleczki on the reported study; each claim has a rule, a statistical test and a verdict.

A claim is tested on the images, epochs and budget of the study. If the study cannot test a claim, the result says why. A claim
with several parts is confirmed if every part is confirmed (an intersection-union test needs no correction: R. L. Berger,
Technometrics 24, 1982). It is refuted if any part is refuted, with the part's p-value multiplied by the number of parts
(Bonferroni). Otherwise it is undecided.
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
"""Numbers of configurations in the paper's two random searches."""
VERDICT_CLASS: Mapping[Verdict, str] = {
    "confirmed": "complete",
    "refuted": "failed",
    "undecided": "missing",
    "not testable": "missing",
}
"""CSS class of each verdict in the HTML report; the classes of cell states are reused."""
NEGLIGIBLE = 0.005
SIMILAR = 0.01
"""Bounds on differences in accuracy, as shares of 1: below half a point is negligible, within one point is similar. The paper
states no bounds."""
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
    p: float | None  # p-value behind the verdict; if undecided, the smaller of the two p-values; None without a test
    verdict: Verdict
    counts: bool = True  # whether the part counts towards the claim's verdict


class Claim(Model):
    """One of the paper's claims, with the verdict and the findings of this study."""

    number: str
    claim: str
    rule: str
    verdict: Verdict
    findings: list[Finding]
    missing: str | None  # what the study lacks, if the claim is not testable


@dataclass(frozen=True)
class Found:
    """One method's trials on one data set, by seed, in the order in which they were proposed."""

    dataset: str
    label: str
    seeds: Mapping[int, Sequence[TrialRow]]

    def each(self, of: Callable[[Sequence[TrialRow]], float | None]) -> dict[int, float]:
        """Return the value of `of` for each seed's trials; a seed for which it is None is left out."""
        return {seed: value for seed, rows in self.seeds.items() if (value := of(rows)) is not None}


def claims(study: Study, rows: Iterable[TrialRow]) -> list[Claim]:
    """Return the claims C1 to C6 with their verdicts.

    The list is empty if the study's hyperparameters are not the paper's, if it has none of the paper's data sets, or if scipy is
    not installed.
    """
    datasets = [d.name for d in study.datasets if d.path is None and d.name in TITLES]
    if set(study.space) != set(PAPER_SPACE) or not datasets or not importable("scipy"):
        return []
    trials = _Study(study, datasets, [r for r in rows if not r.own_models])
    return [
        _trials_suffice(trials),
        _grid_is_best(trials),
        _end_alike(trials),
        _bayes_fits(trials),
        _settings(trials),
        _hyperband(trials),
    ]


class _Study:
    """The study's trials by data set and by method of the paper."""

    def __init__(self, study: Study, datasets: Sequence[str], rows: Sequence[TrialRow]) -> None:
        self.study = study
        self.datasets = datasets
        self._rows: dict[tuple[str, str], dict[int, list[TrialRow]]] = {}
        for row in sorted(rows, key=lambda r: (r.seed, r.trial)):
            self._rows.setdefault((row.dataset, row.method), {}).setdefault(row.seed, []).append(row)

    def all(self, dataset: str, kind: str) -> list[Found]:
        """Return all methods that implement one of the paper's methods, the most similar to the paper's first."""
        labels = [m.label for name in stand_ins(kind) for m in self.study.methods if m.name == name]
        return [Found(dataset, la, self._rows[dataset, la]) for la in labels if (dataset, la) in self._rows]

    def one(self, dataset: str, kind: str) -> Found | None:
        """Return the method that is most similar to one of the paper's; None if the study has none."""
        return next(iter(self.all(dataset, kind)), None)

    def three(self, dataset: str) -> dict[str, Found]:
        """Return Random Search, Bayes and HyperBand if the study has all three with enough common seeds; otherwise nothing."""
        methods = {kind: method for kind in ("random", "bayes", "hyperband") if (method := self.one(dataset, kind))}
        common = set.intersection(*(set(m.seeds) for m in methods.values())) if methods else set()
        return methods if len(methods) == 3 and len(common) >= FEWEST_SEEDS else {}


THREE = f"Random Search, Bayes and HyperBand on one data set, with {FEWEST_SEEDS} common seeds"


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


def _finding(dataset: str, said: str, test: str, p_confirmed: float, p_refuted: float) -> Finding:
    verdict: Verdict = "confirmed" if p_confirmed < ALPHA else "refuted" if p_refuted < ALPHA else "undecided"
    p = {"confirmed": p_confirmed, "refuted": p_refuted}.get(verdict, min(p_confirmed, p_refuted))
    return Finding(dataset=dataset, said=said, test=test, p=p, verdict=verdict)


# C1


def _trials_suffice(trials: _Study) -> Claim:
    findings = []
    for dataset in trials.datasets:
        if random := trials.one(dataset, "random"):
            findings += [f for metric in ("accuracy", "val_accuracy") if (f := _gain(random, metric))]
    return _claim(
        "C1",
        f"{FEW} configurations are enough: {count(MANY)} random configurations improve the best accuracy only negligibly.",
        f"Negligible means that the best of a seed's first {count(MANY)} random configurations is less than"
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
    return _finding(random.dataset, said, "t-test of the gain", below(gains, NEGLIGIBLE), above(gains, NEGLIGIBLE))


# C2


def _grid_is_best(trials: _Study) -> Claim:
    findings = []
    if "mnist" in trials.datasets and (grid := _whole_grid(trials)):
        top = _best([r for rows in grid.seeds.values() for r in rows], "accuracy")
        for kind in ("random", "bayes", "hyperband"):
            other = trials.one("mnist", kind)
            if other and top is not None and len(other.seeds) >= FEWEST_SEEDS:
                findings += _beside_the_grid(grid, other, top)
    return _claim(
        "C2",
        "Grid Search reaches the best training accuracy on MNIST. The other methods come within 1 % of it in far less time.",
        "The grid's best training accuracy is higher than the mean over seeds of each method's best. That mean is higher than"
        f" 99 % of the grid's best. The method's search took less than {percent(FAR_LESS_TIME)} of the grid's time.",
        findings,
        "a search of the whole grid on MNIST and another method with "
        f"{FEWEST_SEEDS} seeds: set budget.trials to at least {count(_grid_size(trials.study))}",
    )


def _grid_size(study: Study) -> int:
    try:
        return study.space.grid_size()
    except ValueError:  # a continuous range has no grid
        return PAPER_SPACE.grid_size()


def _whole_grid(trials: _Study) -> Found | None:
    size = _grid_size(trials.study)
    return next((g for g in trials.all("mnist", "grid") if any(len(rows) >= size for rows in g.seeds.values())), None)


def _beside_the_grid(grid: Found, other: Found, top: float) -> list[Finding]:
    """Return the three parts of claim C2 for one method; `top` is the grid's best training accuracy."""
    best = list(other.each(lambda rows: _best(rows, "accuracy")).values())
    seconds, grid_seconds = (statistics.fmean(f.each(_seconds).values()) for f in (other, grid))
    mean = score(statistics.fmean(best), "accuracy")
    name, test = other.label, "t-test of each seed's best"
    faster: Verdict = "confirmed" if seconds < FAR_LESS_TIME * grid_seconds else "refuted"
    near = 0.99 * top
    message = f"{name} took {duration(seconds)}, the grid {duration(grid_seconds)}."
    return [
        _finding(
            "mnist", f"The grid's best: {score(top, 'accuracy')}; {name}: {mean}.", test, below(best, top), above(best, top)
        ),
        _finding(
            "mnist",
            f"{name} reaches {score(statistics.fmean(best) / top, 'accuracy')} of the grid's best.",
            test,
            above(best, near),
            below(best, near),
        ),
        Finding(dataset="mnist", said=message, test="comparison of mean times, no test", p=None, verdict=faster),
    ]


# C3


def _end_alike(trials: _Study) -> Claim:
    findings = []
    for dataset in trials.datasets:
        ends = {f.label: f.each(lambda rows: _end(trials.study, rows)) for f in trials.three(dataset).values()}
        labels = list(ends)
        for index, first in enumerate(labels):
            for second in labels[index + 1 :]:
                values = differences(ends[first], ends[second])
                p_dissimilar = 6 * min(above(values, SIMILAR), below(values, -SIMILAR))
                mean = difference(statistics.fmean(values), "accuracy")
                said = f"{first} minus {second}: {mean} points of validation accuracy."
                findings.append(
                    _finding(dataset, said, "two one-sided paired t-tests", within(values, SIMILAR), min(1.0, p_dissimilar))
                )
    return _claim(
        "C3",
        "Random Search, Bayes and HyperBand end with similar validation accuracy on every data set.",
        "Similar means that the mean difference between the best trials of each seed lies within"
        f" {100 * SIMILAR:g} point, for each pair of methods.",
        findings,
        THREE,
    )


# C4


def _bayes_fits(trials: _Study) -> Claim:
    findings = []
    for dataset in trials.datasets:
        three = trials.three(dataset)
        if three:
            bayes = three["bayes"]
            for other in (three["random"], three["hyperband"]):
                findings += [_higher(bayes, other, *value) for value in ((_fit, "training accuracy"), (_gap, "gap"))]
    return _claim(
        "C4",
        "Bayes has the best training accuracy on all three data sets, and overfits the training set more than the other methods.",
        "The trial with the best training accuracy is taken from each seed. Its training accuracy, and the gap between its"
        " training and validation accuracy, are larger for Bayes than for Random Search and for HyperBand.",
        findings,
        THREE,
    )


def _higher(bayes: Found, other: Found, of: Callable[[Sequence[TrialRow]], float | None], what: str) -> Finding:
    values = differences(bayes.each(of), other.each(of))
    mean = difference(statistics.fmean(values), "accuracy") if values else "unknown"
    said = f"{bayes.label} minus {other.label}: {mean} points of {what}."
    return _finding(bayes.dataset, said, "paired t-test", above(values, 0.0), min(1.0, 4 * below(values, 0.0)))


# C5


def _settings(trials: _Study) -> Claim:
    findings = []
    if "fashion_mnist" in trials.datasets:
        needed_names = {*BEST_VALUES, "dropout"}
        draws = [r for f in trials.all("fashion_mnist", "random") for rows in f.seeds.values() for r in rows]
        draws = [r for r in draws if needed_names <= r.config.keys()]
        if objective_of(trials.study).trainings_repeat_exactly:  # a repeated look-up is no new evidence
            draws = list({key_of(r.config): r for r in draws}.values())
        scored = ranked(draws, trials.study.objective)
        if len(scored) >= FEWEST_DRAWS:
            top = scored[: round(TOP * len(scored))]
            rest = scored[len(top) :]
            space = trials.study.space
            for name, wanted in BEST_VALUES.items():
                if space[name].contains(wanted):
                    findings.append(_value(name, partial(eq, wanted), str(wanted), top, rest))
                else:
                    findings.append(_no_such(name, wanted))
            findings.append(_value("dropout", lambda v: float(v) < DROPOUT, f"below {DROPOUT}", top, rest))
    return _claim(
        "C5",
        "On Fashion-MNIST the best settings are Adam, learning rate 0.001, ReLU, 256 neurons, 16 then 128 filters, and dropout"
        f" mostly below {DROPOUT}.",
        f"Each value is more frequent among the best {percent(TOP)} of random draws than among the others; it is refuted if it is"
        " less frequent. In a table study each configuration counts once.",
        findings,
        f"at least {FEWEST_DRAWS} random draws on Fashion-MNIST, over all seeds",
    )


def _value(name: str, wanted: Callable[[Value], bool], said: str, top: Sequence[TrialRow], rest: Sequence[TrialRow]) -> Finding:
    from scipy import stats

    counts = [sum(wanted(r.config[name]) for r in part) for part in (top, rest)]
    table = [[counts[0], len(top) - counts[0]], [counts[1], len(rest) - counts[1]]]
    p_more, p_less = (float(stats.fisher_exact(table, alternative=side).pvalue) for side in ("greater", "less"))
    text = f"{name} {said}: {percent(counts[0] / len(top))} of the best {count(len(top))}"
    text += f", {percent(counts[1] / len(rest))} of the other {count(len(rest))}."
    return _finding("fashion_mnist", text, "Fisher's exact test", p_more, min(1.0, (len(BEST_VALUES) + 1) * p_less))


def _no_such(name: str, wanted: Value) -> Finding:
    said = f"{name} {wanted} is not in this study's search space."
    return Finding(dataset="fashion_mnist", said=said, test="none", p=None, verdict="not testable")


# C6


def _hyperband(trials: _Study) -> Claim:
    """Return claim C6. Only the method that is most similar to the paper's HyperBand counts; other methods are listed."""
    findings = []
    for dataset in trials.datasets:
        others = [f for kind in ("random", "bayes") if (f := trials.one(dataset, kind))]
        for index, hyperband in enumerate(trials.all(dataset, "hyperband")):
            comparisons = [(o, differences(hyperband.each(_ten(trials)), o.each(_ten(trials)))) for o in others]
            if comparisons and all(len(values) >= FEWEST_SEEDS for _, values in comparisons):
                findings.append(_less_trained(trials, hyperband, comparisons).model_copy(update={"counts": index == 0}))
    return _claim(
        "C6",
        "HyperBand's ten best trials have a far lower training accuracy than those of the other two methods.",
        "Far lower means that the mean training accuracy of a seed's ten best trials by the objective is more than"
        f" {100 * SIMILAR:g} point below that of Random Search, and below that of Bayes if the study has it.",
        findings,
        f"HyperBand and Random Search on one data set, with {FEWEST_SEEDS} common seeds",
    )


def _less_trained(trials: _Study, hyperband: Found, comparisons: Sequence[tuple[Found, Sequence[float]]]) -> Finding:
    """Return the finding of claim C6 for one method; `comparisons` hold its paired differences to each other method."""
    full = trials.study.budget.epochs_per_trial
    fully_trained = hyperband.each(lambda rows: float(sum(_epochs(r) >= full for r in _ten_best(trials, rows))))
    best_fully_trained = hyperband.each(lambda rows: _mean_accuracy(_ten_best(trials, [r for r in rows if _epochs(r) >= full])))
    compared = listed(
        [f"{difference(statistics.fmean(values), 'accuracy')} points compared with {o.label}" for o, values in comparisons]
    )
    said = (
        f"{hyperband.label}: {score(statistics.fmean(hyperband.each(_ten(trials)).values()), 'accuracy')}, {compared};"
        f" {statistics.fmean(fully_trained.values()):.1f} of the ten had {full} epochs of training."
    )
    if best_fully_trained:
        mean = score(statistics.fmean(best_fully_trained.values()), "accuracy")
        said += f" The ten best trials with {full} epochs of training: {mean}."
    p_lower = max(below(values, -SIMILAR) for _, values in comparisons)
    p_not_lower = min(1.0, len(comparisons) * min(above(values, -SIMILAR) for _, values in comparisons))
    return _finding(hyperband.dataset, said, "paired t-tests", p_lower, p_not_lower)


def _epochs(row: TrialRow) -> int:
    """Return the epochs for which this trial's weights were trained; the parent's epochs count only if its weights were used."""
    return row.epochs - row.first_epoch if row.inherit == "nothing" else row.epochs


# Values computed from the trials of one search


def _ten(trials: _Study) -> Callable[[Sequence[TrialRow]], float | None]:
    return lambda rows: _mean_accuracy(_ten_best(trials, rows))


def _ten_best(trials: _Study, rows: Sequence[TrialRow]) -> list[TrialRow]:
    return ranked(rows, trials.study.objective)[:TEN]


def _mean_accuracy(rows: Sequence[TrialRow]) -> float | None:
    accuracies = [r.accuracy for r in rows if r.accuracy is not None]
    return statistics.fmean(accuracies) if accuracies else None


def _best(rows: Sequence[TrialRow], metric: str) -> float | None:
    return max((v for r in rows if (v := getattr(r, metric)) is not None), default=None)


def _end(study: Study, rows: Sequence[TrialRow]) -> float | None:
    """Return the validation accuracy of the search's incumbent."""
    best = ranked(rows, study.objective)
    return best[0].val_accuracy if best else None


def _fit(rows: Sequence[TrialRow]) -> float | None:
    """Return the best training accuracy."""
    return _best(rows, "accuracy")


def _gap(rows: Sequence[TrialRow]) -> float | None:
    """Return the training accuracy minus the validation accuracy of the trial with the best training accuracy."""
    scored = [r for r in rows if r.accuracy is not None and r.val_accuracy is not None]
    best = max(scored, key=lambda r: r.accuracy or 0.0, default=None)
    return (best.accuracy or 0.0) - (best.val_accuracy or 0.0) if best else None


def _seconds(rows: Sequence[TrialRow]) -> float:
    return sum((r.seconds or 0.0) + r.method_seconds for r in rows)


def _named(metric: str) -> str:
    return {"accuracy": "training accuracy", "val_accuracy": "validation accuracy"}[metric]
