"""Write docs/findings.md from the reports of finished studies, both table studies and trained ones: `make findings`.

The script keeps the reports in data/findings/ and the figures in docs/findings/, so it can write the page again without the runs.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from write_hyperband import dataset as hyperband_rows

from tuneoff.advice.advise import Advice, advise, shipped_tables
from tuneoff.analysis.break_even import BreakEven
from tuneoff.analysis.paper.claims import Claim
from tuneoff.analysis.recommend import Choice
from tuneoff.analysis.results import Results
from tuneoff.analysis.stats.equivalence import Algorithm, Pair
from tuneoff.analysis.stats.statistics import Scope
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import read_study
from tuneoff.core.study import Study
from tuneoff.core.text import NOTHING, count, difference, listed, p_value, score
from tuneoff.report.figure_files import write_figures
from tuneoff.report.headline import twin_sentences, winner_sentences
from tuneoff.report.markdown import as_table, safe
from tuneoff.report.statistics_text import recommendation_sentences, scope_sentences

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "findings.md"
BUDGETS = (60, 120, 300, 600, 1200)
"""Budgets of the advice, in epochs: from half a search of the paper's Hyperband to the paper's 120 full trainings."""
CLAIMS = ("C1", "C2", "C3", "C4", "C5", "C6")
FIGURES = {
    "regret-epochs": "Normalised regret over the epochs trained: mean over seeds with its 95 % band",
    "critical-difference-epochs": "Mean ranks at the common budget. A bar joins methods that the test cannot separate",
}
ADVICE_CHART = "advice.svg"
DRAWN = ("all-replay", "hyperband-replay")
TRAINED = ("cpu", "hyperband-paper", "hyperband", "frameworks", "autokeras")
FOREMOST = 12
"""Number of methods that a long comparison lists."""
AS_GOOD = 4
"""Number of equally good methods that a row names."""
COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b0468a", "#8a6a00")
SURE = ((0.95, "sure"), (0.75, "likely"), (0.0, "open"))
"""Words for the probability that a method is the best, by its lower limit."""
HEAD = """# Findings

Which method should you use at which budget? The table answers from Tuneoff's own studies. It covers one kind of problem: a
small convolutional network with the paper's seven hyperparameters, on images of 14 × 14 pixels. A full training has 10
epochs.
"""
READING = """**How to read it.** The rule recommends the method with the best mean rank over thirty seeds. *How sure* is the
share of bootstrap draws in which it is the best: *sure* from 95 %, *likely* from 75 %, else *open*. *Possibly equally good*
lists the methods that share 95 % of the draws with it. Regret is 0 at the table's best configuration and 1 at a
median random trial. The [statistics](statistics.md) page has every rule.

**How far it reaches.** The answers come from [table studies](tables.md), which look up recorded trainings
instead of training. The tables are @tables@. They say little about other data, networks and image sizes. For
your own data, run a study and ask `tuneoff advise --budget EPOCHS --dir DIR`.

**How it was made.** `make replays` searches the tables under `studies/tables/`. `make findings` writes this
page from the reports of these searches and of trained studies under `runs/`; it keeps the reports in
`data/findings/`. No number on the page is written by hand.
"""


class Reports:
    """The kept reports, by study; those of table studies also by table."""

    def __init__(self, kept: Path) -> None:
        self.tables: dict[str, dict[str, Results]] = {}
        self.real: dict[str, Results] = {}
        for file in sorted(kept.glob("*.json.gz")):
            results = Results.model_validate_json(gzip.decompress(file.read_bytes()))
            if results.study.replayed:
                table = Path(results.study.study["objective"]["replay"]["table"]).stem
                self.tables.setdefault(results.study.name.removesuffix(f"-{table}"), {})[table] = results
            else:
                self.real[results.study.name] = results


def keep(runs: Path, kept: Path, figures: Path) -> None:
    """Keep the reports and figures of the page's studies. A newer report replaces the older one of its study.

    Args:
        runs: The folder with the output folders of the studies.
        kept: The folder for the compressed reports.
        figures: The folder for the figures.
    """
    reports = [*runs.glob("replays/*/report/results.json"), *(runs / name / "report/results.json" for name in TRAINED)]
    for file in filter(Path.exists, reports):
        results = Results.model_validate_json(file.read_bytes())
        name = results.study.name
        if results.study.replayed:
            replay = results.study.study["objective"]["replay"]
            replay["table"] = Path(replay["table"]).name  # its folder means nothing on other machines
            if name.startswith(DRAWN):
                _draw(results, file.parents[1], figures)
        (kept / f"{name}.json.gz").write_bytes(gzip.compress(results.model_dump_json().encode(), mtime=0))
    with rc_context({"svg.hashsalt": "tuneoff", "svg.fonttype": "path"}):
        advice_chart().savefig(figures / ADVICE_CHART, metadata={"Date": None})


def _draw(results: Results, run: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch, "figures")
        write_figures(read_study(open_store(str(run))), drawn, "svg")
        for dataset, figure in _figures(results):
            shutil.copy(drawn / f"{dataset}-{figure}.svg", folder / f"{results.study.name}-{figure}.svg")


def _figures(results: Results) -> Iterator[tuple[str, str]]:
    return ((d.name, figure) for d in results.datasets for figure in FIGURES)


def page(reports: Reports) -> str:
    """Return the text of the page."""
    parts = [
        HEAD.strip(),
        *_answer(),
        *_trusted(reports),
        *_claims(reports),
        *_hyperband(reports),
        *_frameworks(reports),
        *_autokeras(reports),
    ]
    return "\n\n".join(parts) + "\n"


def _answer() -> Iterator[str]:
    """The opening table, its chart, how to read them, and what following the advice on other data would have cost."""
    head = ["budget", "kind of problem", "use", "how sure", "possibly equally good", "its regret", "random search's"]
    yield "\n".join([as_table(head, []).rstrip(), *map(advised, BUDGETS)])
    yield (
        "![Normalised regret of the recommended methods and of random search over the budget, mean over tables and seeds]"
        f"(findings/{ADVICE_CHART})"
    )
    tables = [f"{source.table} ({count(source.study.space.grid_size())} configurations)" for source in shipped_tables()]
    yield READING.strip().replace("@tables@", listed(tables))
    yield "## What the advice costs on other data"
    yield (
        "For each table, the rule recommends a method from the other tables only. This is the regret of following it, next to the"
        " best method's and random search's."
    )
    head = ["budget", "table", "recommended from the others", "its regret", "best there", "best regret", "random search's"]
    yield as_table(head, [row for budget in BUDGETS for row in _followed(budget)])


def advised(budget: int) -> str:
    """Return the rows of the opening table for a budget: over all tables together, then for each table."""
    sources = shipped_tables()
    groups = [("all tables", sources), *((f"like {source.table}", [source]) for source in sources)]
    rows = [_advice_row(budget, kind, advise(group, budget)) for kind, group in groups]
    return "\n".join(f"| {' | '.join(map(safe, row))} |" for row in rows)


def _advice_row(budget: int, kind: str, advice: Advice) -> list[str]:
    choice = advice.choice
    size = f"{count(budget)} epochs ({count(budget / advice.full_epochs[0])} trainings)"
    best = next((s for s in choice.standings if s.method == choice.best), None)
    if best is None:
        return [size, kind, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING]
    word = next(word for limit, word in SURE if best.probability >= limit)
    as_good = ", ".join(choice.as_good[:AS_GOOD]) + (
        f" and {len(choice.as_good) - AS_GOOD} more" if len(choice.as_good) > AS_GOOD else ""
    )
    return [
        size,
        kind,
        best.method,
        f"{word} ({100 * best.probability:.0f} %)",
        as_good or "none",
        _regret(best.regret),
        _regret(_random_regret(choice)),
    ]


def _random_regret(choice: Choice) -> float | None:
    """The mean regret of the random searches, by the rule of docs/statistics.md for their names."""
    regrets = [s.regret for s in choice.standings if s.method == "random" or s.method.endswith("-random")]
    return fmean(r for r in regrets if r is not None) if regrets and None not in regrets else None


def _regret(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _followed(budget: int) -> list[list[str]]:
    return [
        [count(budget), f.dataset, f.advised, _regret(f.regret), f.best, _regret(f.best_regret), _regret(f.random_regret)]
        for f in advise(shipped_tables(), budget).followed
    ]


def advice_chart() -> Figure:
    """Draw the mean normalised regret over the budget, for random search and each method that is recommended for all tables."""
    sources = shipped_tables()
    budgets = range(40, BUDGETS[-1] + 1, 20)
    choices = {budget: advise(sources, budget).choice for budget in budgets}
    methods = dict.fromkeys(method for budget in BUDGETS if (method := choices[budget].best))
    figure = Figure(figsize=(7.6, 3.6), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for index, method in enumerate(methods):
        curve = [next(s.regret for s in choices[budget].standings if s.method == method) for budget in budgets]
        axes.plot(budgets, _numbers(curve), label=method, color=COLOURS[index % len(COLOURS)], linewidth=1.8)
    curve = [_random_regret(choice) for choice in choices.values()]
    axes.plot(
        budgets, _numbers(curve), label="random search (mean of the frameworks)", color="#666666", linestyle="--", linewidth=1.8
    )
    axes.set(xlabel="budget of a search, epochs", ylabel="mean normalised regret", yscale="log", xlim=(0, BUDGETS[-1]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _trusted(reports: Reports) -> Iterator[str]:
    yield "## The studies behind the advice"
    table_studies = reports.tables.get("all-replay", {})
    for table, results in table_studies.items():
        yield f"### All methods on {table}"
        yield _about(results)
        yield from _comparison(results)
        yield from _shown(results)
    if not table_studies:
        yield _not_run("make replays")
    yield "### The paper's methods, trained"
    yield from _real(reports, "cpu")


def _comparison(results: Results) -> Iterator[str]:
    """For each data set: the significant differences, the leading methods, and the budget at which they beat random search."""
    scopes = results.statistics.scopes
    for scope in scopes:
        if len(scopes) > 1:
            yield f"#### {safe(listed(scope.datasets))}"
        yield safe(" ".join(scope_sentences(results, scope)))
        yield from _ranks(results, scope)
        yield safe(" ".join(recommendation_sentences(results, scope)))
        yield from (safe(sentence) for name in scope.datasets for sentence in twin_sentences(results, name))


def _ranks(results: Results, scope: Scope) -> Iterator[str]:
    clock = next((c for c in scope.clocks if c.clock == "epochs"), None)
    if clock is None:
        return
    ranks = [{s.method: s.rank for s in c.standings} for c in clock.comparisons]
    even = {
        b.method: b
        for d in results.statistics.datasets
        if [d.dataset] == scope.datasets
        for b in d.break_even
        if b.clock == "epochs"
    }
    shares = [f"rank at {count(round(max(c.budgets.values())))} epochs" for c in clock.comparisons]
    listed = clock.comparisons[-1].standings[:FOREMOST]
    rows = [
        [
            s.method,
            *(f"{by[s.method]:.2f}" for by in ranks),
            NOTHING if s.regret is None else f"{s.regret:.3f}",
            _even(even.get(s.method)),
        ]
        for s in listed
    ]
    yield as_table(["method", *shares, "final regret", "beats random search (P ≥ 0.9)"], rows)
    left = len(clock.comparisons[-1].standings) - len(listed)
    if left > 0:
        yield f"The report lists the other {left}. Regret is 0 at the best configuration and 1 at a median random trial."


def _claims(reports: Reports) -> Iterator[str]:
    yield "## The paper's claims, checked"
    yield (
        "Each claim has a rule and a test, which every report prints. A verdict holds for the data, images and budgets of its"
        " study. These are smaller than the paper's."
    )
    sources = [*(r for by in reports.tables.values() for r in by.values()), *reports.real.values()]
    rows = []
    for number in CLAIMS:
        tested = [(r, c) for r in sources for c in r.claims if c.number == number and c.verdict != "not testable"]
        rows += [[number, c.claim, r.study.name, c.verdict, _findings(c)] for r, c in tested]
        if not tested:
            missing = next((c for r in sources for c in r.claims if c.number == number), None)
            rows.append([number, missing.claim if missing else NOTHING, NOTHING, "not testable yet", _lacking(missing)])
    yield as_table(["", "claim", "study", "verdict", "result, or what a test needs"], rows)


def _findings(claim: Claim) -> str:
    return " ".join(f"{f.said}{'' if f.p is None else f' ({p_value(f.p)})'}" for f in claim.findings)


def _lacking(claim: Claim | None) -> str:
    return (claim.missing or NOTHING) if claim else "no study yet: make replays"


def _hyperband(reports: Reports) -> Iterator[str]:
    yield "## Why Hyperband does badly in the paper"
    yield (
        "KerasTuner's code has five causes, and each can be removed on its own: [Hyperband](hyperband.md) explains them. Each row"
        " of the tables below removes one more cause."
    )
    table_studies = reports.tables.get("hyperband-replay", {})
    for table, results in table_studies.items():
        yield f"### On {table}"
        yield from _ablation(results)
        yield from _shown(results)
    if not table_studies:
        yield _not_run("make replays")
    for study, title in (("hyperband-paper", "Trained, as in the paper"), ("hyperband", "Trained, cause by cause")):
        yield f"### {title}"
        if trained := reports.real.get(study):
            yield from _ablation(trained)
        else:
            yield _not_run(f"tuneoff run studies/{study}.yaml")


def _ablation(results: Results) -> Iterator[str]:
    yield _about(results)
    numbers = results.model_dump(mode="json")
    for name in (d.name for d in results.datasets):
        yield from hyperband_rows(numbers, name)[1:]


def _frameworks(reports: Reports) -> Iterator[str]:
    yield "## The same algorithm in different frameworks"
    yield (
        "*Equivalent* means that two one-sided tests find the difference smaller than the effect of another seed."
        " [The page about frameworks](frameworks.md) explains why methods differ."
    )
    studies = [
        *reports.tables.get("frameworks-replay", {}).values(),
        *([reports.real["frameworks"]] if "frameworks" in reports.real else []),
    ]
    for results in studies:
        yield f"### {results.study.name}"
        yield _about(results)
        for algorithm in results.algorithms:
            yield _family(algorithm, results.study.metric)
        for dataset in results.datasets:
            yield from (safe(sentence) for sentence in twin_sentences(results, dataset.name))
    if not reports.tables.get("frameworks-replay"):
        yield _not_run("make replays")
    if "frameworks" not in reports.real:
        yield _not_run("tuneoff run studies/frameworks.yaml")


def _family(algorithm: Algorithm, metric: str) -> str:
    margin = (
        ""
        if algorithm.deviation is None
        else f" (another seed changes the result by {difference(algorithm.deviation, metric).lstrip('+')} points)"
    )
    rows = [_pair(p, metric) for p in algorithm.pairs]
    return f"**{algorithm.name[0].upper()}{algorithm.name[1:]}**{margin}\n\n" + as_table(
        ["first", "second", "difference, points", "verdict", "p (different)", "p (equivalent)"], rows
    )


def _pair(pair: Pair, metric: str) -> list[str]:
    apart, within = (NOTHING if p is None else p_value(p) for p in (pair.p_different, pair.p_equivalent))
    return [pair.first, pair.second, difference(pair.difference, metric), pair.verdict, apart, within]


def _autokeras(reports: Reports) -> Iterator[str]:
    yield "## AutoKeras in the same tables"
    yield "AutoKeras trains its own models, so only seconds and test accuracy compare."
    if not (results := reports.real.get("autokeras")):
        yield _not_run(".venv-autokeras/bin/tuneoff run studies/autokeras.yaml")
        return
    yield _about(results)
    rows = [
        [
            s.method,
            count(s.usage.trials / max(s.usage.searches, 1)),
            count((s.usage.training_seconds + s.usage.method_seconds) / max(s.usage.searches, 1)),
            score(s.test.accuracy.mean, "accuracy") if s.test else NOTHING,
        ]
        for s in results.scores
    ]
    yield as_table(["method", "trials per search", "seconds per search", "test accuracy"], rows)


def _real(reports: Reports, name: str) -> Iterator[str]:
    if not (results := reports.real.get(name)):
        yield _not_run(f"tuneoff run studies/{name}.yaml")
        return
    yield _about(results)
    for answer in results.answers:
        yield f"**{safe(answer.dataset)}**: {safe(' '.join(winner_sentences(results, answer)))}"
    yield from _comparison(results)


def _shown(results: Results) -> Iterator[str]:
    yield from (f"![{FIGURES[figure]}](findings/{results.study.name}-{figure}.svg)" for _, figure in _figures(results))


def _about(results: Results) -> str:
    study = Study.model_validate(results.study.study)
    limits = [(study.budget.trials, "trials"), (study.budget.epochs, "epochs"), (study.budget.seconds, "seconds")]
    budget = ", ".join(f"{count(limit)} {unit}" for limit, unit in limits if limit is not None)
    points = f" on a table of {count(study.space.grid_size())} configurations" if results.study.replayed else ""
    return (
        f"Study `{safe(study.name)}` of {results.study.created_at[:10]}{points}: {len(study.methods)} methods,"
        f" {budget} per search, {len(study.seeds)} seeds."
    )


def _even(point: BreakEven | None) -> str:
    if point is None:
        return NOTHING
    if point.is_random:
        return "is random search"
    return f"never (P = {point.at_full:.2f})" if point.budget is None else f"from {count(point.budget)} epochs"


def _not_run(command: str) -> str:
    return f"Not run yet: `{command}`, then `make findings`."


if __name__ == "__main__":
    kept = ROOT / "data" / "findings"
    keep(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"), kept, PAGE.with_suffix(""))
    PAGE.write_text(page(Reports(kept)), encoding="utf-8")
