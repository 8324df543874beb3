"""Writes docs/findings.md from the reports of finished studies, on tables and real: `make findings`.

What the page needs of a report is kept beside it, in docs/findings/, so that the page can be written anew without the runs.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from write_hyperband import dataset as hyperband_rows

from tuneoff.advice.advise import advise, lines, shipped_tables
from tuneoff.analysis.break_even import BreakEven
from tuneoff.analysis.paper.claims import Claim
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

PAGE = Path(__file__).parent / "findings.md"
BUDGETS = (60, 120, 300, 600, 1200)
"""Epochs for which advice is printed: half a search of the paper's Hyperband to the paper's 120 full trainings."""
CLAIMS = ("C1", "C2", "C3", "C4", "C5", "C6")
FIGURES = {
    "regret-epochs": "Regret over the epochs trained, the mean over seeds with its 95 % band",
    "critical-difference-epochs": "Mean ranks at the common budget; those that a bar joins are not told apart",
}
DRAWN = ("all-replay", "hyperband-replay")
TRAINED = ("cpu", "hyperband-paper", "hyperband", "frameworks", "autokeras")
FOREMOST = 12
"""So many methods of a long comparison are listed."""
HEAD = """# Findings

What Tuneoff's own studies found: which method to trust at which budget, what became of the paper's claims and open questions, and
how sure each answer is. Nothing here is written by hand: `make replays` searches the tables under `studies/tables/`, and
`make findings` writes this page from the reports of those searches and of the real studies under `runs/`, which it keeps in
`docs/findings/`. The
[statistics](statistics.md) and the [tables](replay.md) have pages of their own. A study on a table trains nothing: it looks up
trainings that were made once, so that thirty seeds of each method cost minutes; and a table says as much about other data as one
data set can.
"""


class Reports:
    """Kept reports, by study and, of studies on tables, by table."""

    def __init__(self, kept: Path) -> None:
        self.tables: dict[str, dict[str, Results]] = {}
        self.real: dict[str, Results] = {}
        for file in sorted(kept.glob("*.json.gz")):
            found = Results.model_validate_json(gzip.decompress(file.read_bytes()))
            if found.study.replayed:
                table = Path(found.study.study["objective"]["replay"]["table"]).stem
                self.tables.setdefault(found.study.name.removesuffix(f"-{table}"), {})[table] = found
            else:
                self.real[found.study.name] = found


def keep(runs: Path, kept: Path) -> None:
    """Keep the report of each study of the page below a folder of runs, and its figures, in place of that study's last."""
    reports = [*runs.glob("replays/*/report/results.json"), *(runs / name / "report/results.json" for name in TRAINED)]
    for file in filter(Path.exists, reports):
        results = Results.model_validate_json(file.read_bytes())
        name = results.study.name
        if results.study.replayed:
            replay = results.study.study["objective"]["replay"]
            replay["table"] = Path(replay["table"]).name  # where it lay says nothing elsewhere
            if name.startswith(DRAWN):
                _draw(results, file.parents[1], kept)
        (kept / f"{name}.json.gz").write_bytes(gzip.compress(results.model_dump_json().encode(), mtime=0))


def _draw(results: Results, run: Path, kept: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        drawn = Path(place, "figures")
        write_figures(read_study(open_store(str(run))), drawn, "svg")
        for dataset, figure in _figures(results):
            shutil.copy(drawn / f"{dataset}-{figure}.svg", kept / f"{results.study.name}-{figure}.svg")


def _figures(results: Results) -> Iterator[tuple[str, str]]:
    return ((d.name, figure) for d in results.datasets for figure in FIGURES)


def page(reports: Reports) -> str:
    """The page's text."""
    parts = [
        HEAD.strip(),
        *_trusted(reports),
        *_claims(reports),
        *_hyperband(reports),
        *_frameworks(reports),
        *_autokeras(reports),
    ]
    return "\n\n".join(parts) + "\n"


def _trusted(reports: Reports) -> Iterator[str]:
    yield "## Which method, at which budget"
    yield "\n".join(map(advised, BUDGETS))
    replays = reports.tables.get("all-replay", {})
    for table, results in replays.items():
        yield f"### All methods on {table}"
        yield _about(results)
        yield from _comparison(results)
        yield from _shown(results)
    if not replays:
        yield _not_run("make replays")
    yield "### The paper's methods, trained"
    yield from _real(reports, "cpu")


def advised(budget: int) -> str:
    """The recommendation from all tables together, and what following it from the others would have cost on each."""
    recommended, *rest = lines(advise(shipped_tables(), budget))
    followed = [f"  - {safe(line)}" for line in rest if line.startswith(("Followed on ", "What following this costs "))]
    return "\n".join([f"- {safe(recommended)}", *followed])


def _comparison(results: Results) -> Iterator[str]:
    """Of each data set: what is significant, the foremost methods, and from where they beat random search."""
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
    yield as_table(["method", *shares, "regret at the last", "beats random search (P ≥ 0.9)"], rows)
    left = len(clock.comparisons[-1].standings) - len(listed)
    if left > 0:
        yield f"The other {left} are in the report. Regret 0 is the table's best, 1 an ordinary trial."


def _claims(reports: Reports) -> Iterator[str]:
    yield "## The paper's claims, checked"
    yield (
        "Each claim has a rule and a test, which every report prints. A verdict holds for the data, images and budgets of its"
        " study, which are smaller than the paper's."
    )
    sources = [*(r for by in reports.tables.values() for r in by.values()), *reports.real.values()]
    rows = []
    for number in CLAIMS:
        found = [(r, c) for r in sources for c in r.claims if c.number == number and c.verdict != "not testable"]
        rows += [[number, c.claim, r.study.name, c.verdict, _findings(c)] for r, c in found]
        if not found:
            missing = next((c for r in sources for c in r.claims if c.number == number), None)
            rows.append([number, missing.claim if missing else NOTHING, NOTHING, "not testable yet", _lacking(missing)])
    yield as_table(["", "claim", "study", "verdict", "found, or what it takes"], rows)


def _findings(claim: Claim) -> str:
    return " ".join(f"{f.said}{'' if f.p is None else f' ({p_value(f.p)})'}" for f in claim.findings)


def _lacking(claim: Claim | None) -> str:
    return (claim.missing or NOTHING) if claim else "no study yet: make replays"


def _hyperband(reports: Reports) -> Iterator[str]:
    yield "## Why Hyperband does badly in the paper"
    yield (
        "Five causes, each in KerasTuner's code, each removed by itself: [the page about them](hyperband.md). In the tables below"
        " one is taken away from row to row."
    )
    replays = reports.tables.get("hyperband-replay", {})
    for table, results in replays.items():
        yield f"### On {table}"
        yield from _ablation(results)
        yield from _shown(results)
    if not replays:
        yield _not_run("make replays")
    for study, title in (("hyperband-paper", "Trained, as in the paper"), ("hyperband", "Trained, cause by cause")):
        yield f"### {title}"
        if trained := reports.real.get(study):
            yield from _ablation(trained)
        else:
            yield _not_run(f"tuneoff run studies/{study}.yaml")


def _ablation(results: Results) -> Iterator[str]:
    yield _about(results)
    found = results.model_dump(mode="json")
    for name in (d.name for d in results.datasets):
        yield from hyperband_rows(found, name)[1:]


def _frameworks(reports: Reports) -> Iterator[str]:
    yield "## The same algorithm in different frameworks"
    yield "Equivalent: two one-sided tests find the difference within what a seed changes. [Why they differ](frameworks.md)."
    found = [
        *reports.tables.get("frameworks-replay", {}).values(),
        *([reports.real["frameworks"]] if "frameworks" in reports.real else []),
    ]
    for results in found:
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
        else f" (another seed changes {difference(algorithm.deviation, metric).lstrip('+')} points)"
    )
    rows = [_pair(p, metric) for p in algorithm.pairs]
    return f"**{algorithm.name[0].upper()}{algorithm.name[1:]}**{margin}\n\n" + as_table(
        ["first", "second", "difference, points", "the same?", "p, apart", "p, within"], rows
    )


def _pair(pair: Pair, metric: str) -> list[str]:
    apart, within = (NOTHING if p is None else p_value(p) for p in (pair.p_different, pair.p_equivalent))
    return [pair.first, pair.second, difference(pair.difference, metric), pair.verdict, apart, within]


def _autokeras(reports: Reports) -> Iterator[str]:
    yield "## AutoKeras in the same tables"
    yield "It trains models of its own, so that seconds and test accuracy are what can be compared."
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
    yield as_table(["method", "trials a search", "seconds a search", "test accuracy"], rows)


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
    points = f" on {count(study.space.grid_size())} points" if results.study.replayed else ""
    return (
        f"Study `{safe(study.name)}` of {results.study.created_at[:10]}{points}: {len(study.methods)} methods, {budget} a search,"
        f" {len(study.seeds)} seeds."
    )


def _even(found: BreakEven | None) -> str:
    if found is None:
        return NOTHING
    if found.is_random:
        return "is random search"
    return f"never (P = {found.at_full:.2f})" if found.budget is None else f"from {count(found.budget)} epochs"


def _not_run(command: str) -> str:
    return f"Not run yet: `{command}`, then `make findings`."


if __name__ == "__main__":
    kept = PAGE.with_suffix("")
    keep(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"), kept)
    PAGE.write_text(page(Reports(kept)), encoding="utf-8")
