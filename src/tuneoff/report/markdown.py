"""Render the report as Markdown: a short text for the KFP user interface, and a longer one to keep in a repository."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from ..analysis.paper.tables import METHODS, BestTable
from ..analysis.results import Results
from ..analysis.stats.statistics import Scope
from ..analysis.summaries import Answer, CellScore, CellState
from ..core.text import NOTHING, OWN_MODELS, bare, count, difference, duration, metric_name, percent, shortened, spread
from .headline import separation, system_sentences, twin_sentences, winner_sentences
from .statistics_text import recommendation_sentences, scope_sentences

MOST_ROWS = 200
_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def short(results: Results) -> str:
    """Return the recommendation, the answer for each data set, the table of all cells, and the failed and missing cells."""
    parts = [f"# {safe(results.study.name)}", *_recommendation(results), *_answers(results), _scores(results), *_gaps(results)]
    return "\n\n".join(parts) + "\n"


def full(results: Results) -> str:
    """Return the whole report without its figures, the ten best trials and the confusion matrices."""
    study = results.study
    made = ", ".join(f"{safe(k)} {safe(v)}" for k, v in results.versions.items())
    parts = [
        f"# {safe(study.name)}",
        f"Written {results.generated_at} with {made}. Study {study.id}, hash {study.hash[:12]}."
        f" Objective: {metric_name(study.metric)} of the {study.epoch} epoch, {study.direction}.",
        "## Answer",
        *_recommendation(results)[:1],
        *_answers(results),
        _scores(results),
        *_gaps(results),
        *_paper(results),
        "## Statistics",
        *_statistics(results),
        "## Budget",
        _budget(results),
        "## Failed and diverged trials",
        _reasons(results),
        "## Recommendation",
        *_recommendation(results),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(results: Results) -> list[str]:
    return [f"**{safe(a.dataset)}**: " + safe(" ".join(_answered(results, a))) for a in results.answers]


def _answered(results: Results, a: Answer) -> list[str]:
    remarks = [*twin_sentences(results, a.dataset), *system_sentences(results, a.dataset)]
    return [*winner_sentences(results, a), separation(results, a), *remarks]


def _scores(results: Results) -> str:
    metric = results.study.metric
    header = ["data set", "method", "state", f"best {metric_name(metric)}", "mean ± sd", "seeds", "test accuracy", "time"]
    states = {(s.dataset, s.method): s.state for s in results.states}
    rows = [_score_row(s, states[s.dataset, s.method], metric) for s in results.scores]
    return as_table(header, rows)


def _score_row(s: CellScore, state: str, metric: str) -> list[str]:
    test = s.test.accuracy if s.test else None
    scores = [bare(s.best.objective if s.best else None, metric), spread(s.incumbents.mean, s.incumbents.sd, metric)]
    return [
        s.dataset,
        _named(s),
        state,
        *([NOTHING, NOTHING] if s.own_models else scores),
        str(s.incumbents.n),
        spread(test.mean, test.sd, "accuracy") if test else bare(None, metric),
        duration(s.usage.training_seconds + s.usage.method_seconds),
    ]


def _named(s: CellScore) -> str:
    return f"{s.method} ({OWN_MODELS})" if s.own_models else s.method


def _gaps(results: Results) -> list[str]:
    """Return the failed and missing cells with their reasons."""

    def line(s: CellState) -> str:
        return f"- {s.state}: {safe(s.dataset)}/{safe(s.method)}: {safe(shortened(' '.join((s.reason or '').split()), 300))}"

    gaps = [s for s in results.states if s.state != "complete"]
    return ["\n".join(line(s) for s in gaps[:MOST_ROWS])] if gaps else []


def _paper(results: Results) -> list[str]:
    tables = [t for t in results.paper.best if t.in_study]
    parts = ["## Comparison with Molnár and Poleczki"] if tables else []
    for table in tables:
        parts.append(f"### Table {table.number}: {table.title}")
        if table.differs:
            parts.append(safe(f"This is not a replication. It differs from the paper in: {'; '.join(table.differs)}."))
        parts.append(_paper_table(table))
    if results.claims:
        rows = [[c.number, c.claim, c.verdict, "; ".join(f.said for f in c.findings) or c.missing or ""] for c in results.claims]
        parts += ["### The paper's claims, checked", as_table(["", "claim", "verdict", "findings, or what is missing"], rows)]
    return parts


def _paper_table(table: BestTable) -> str:
    rows = []
    for row in table.rows:
        cells = [METHODS.get(row.method, row.method) + (f" ({row.label})" if row.label and row.label != row.method else "")]
        for metric in ("accuracy", "val_accuracy", "loss", "val_loss"):
            paper, ours, delta = (getattr(m, metric) if m else None for m in (row.paper, row.ours, row.delta))
            cells.append(f"{bare(paper, metric)} / {bare(ours, metric)} / {difference(delta, metric)}")
        rows.append([*cells, row.status])
    return as_table(["paper / ours / difference", "acc", "val acc", "loss", "val loss", ""], rows)


def _statistics(results: Results) -> list[str]:
    """Return the significant differences and the mean ranks by epochs, on each data set and on all together."""
    if results.statistics.refused:
        return [f"Not computed. {safe(results.statistics.refused)}"]
    parts = []
    for scope in results.statistics.scopes:
        parts.append(f"**{safe(scope.name)}**: " + safe(" ".join(scope_sentences(results, scope))))
        parts += _ranks(scope)
    return parts


def _ranks(scope: Scope) -> list[str]:
    clock = next((c for c in scope.clocks if c.clock == "epochs"), None)
    if clock is None:
        return []
    ranks = [{s.method: s for s in c.standings} for c in clock.comparisons]
    rows = [
        [s.method, *(f"{by[s.method].rank:.2f}" for by in ranks), NOTHING if s.regret is None else f"{s.regret:.3f}"]
        for s in clock.comparisons[-1].standings
    ]
    return [as_table(["mean rank by epochs", "¼ of the budget", "½ of the budget", "full budget", "regret"], rows)]


def _recommendation(results: Results) -> list[str]:
    if results.statistics.refused:
        return [f"No method can be recommended. {safe(results.statistics.refused)}"]
    return [safe(" ".join(recommendation_sentences(results, scope))) for scope in results.statistics.scopes]


def _budget(results: Results) -> str:
    rows = [
        [
            s.dataset,
            _named(s),
            *([NOTHING] * 3 if s.own_models else [count(n) for n in (s.usage.configurations, s.usage.trials, s.usage.epochs)]),
            duration(s.usage.training_seconds),
            duration(s.usage.method_seconds),
            percent(s.usage.method_share),
            count(s.usage.statuses["failed"]),
            count(s.usage.statuses["diverged"]),
        ]
        for s in results.scores
    ]
    header = ["data set", "method", "configurations", "trials", "epochs", "training time", "method time", "share of the method"]
    return as_table([*header, "failed", "diverged"], rows)


def _reasons(results: Results) -> str:
    rows = [
        [r.dataset, r.method, r.status, count(r.trials), shortened(" ".join(r.reason.split()), 200)]
        for r in results.reasons[:MOST_ROWS]
    ]
    return as_table(["data set", "method", "status", "trials", "reason"], rows) if rows else "None."


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all cells are plain text."""
    lines = [header, ["---"] * len(header), *[[safe(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def safe(text: str) -> str:
    """Escape text so that neither Markdown nor HTML treats any of it as markup."""
    return _SPECIAL.sub(r"\\\1", html.escape(text, quote=False))
