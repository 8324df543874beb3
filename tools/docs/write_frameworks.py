"""Write docs/frameworks.md: defaults of each algorithm's methods, and statistics of random draws: `make frameworks-doc`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean

from write_methods import locked, shown

from tuneoff.analysis.stats.equivalence import Evenness, evenness_of
from tuneoff.contract.harness import Subject
from tuneoff.core.problem import Limits
from tuneoff.core.space import PAPER_SPACE, Space, Value
from tuneoff.core.text import p_value, percent
from tuneoff.methods.registry import REGISTRY, find
from tuneoff.methods.spec import Algorithm, MethodSpec

HERE = Path(__file__).parent
STEPPED = Space.model_validate(
    {**PAPER_SPACE.model_dump(exclude_none=True), "dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}}
)
"""The paper's 2880 points."""
SEEDS, DRAWS = range(5), 240
STARTS = ("num_initial_points", "n_initial_points", "n_startup_trials", "n_startup_jobs", "random_search_steps")
"""Names that frameworks give to the number of random configurations before the model decides."""
UNSAID = {"keras-tuner-bayes": "3 for each hyperparameter"}
"""Meaning of a default of null, by method."""


def defaults() -> str:
    """Return one table per algorithm: methods, versions, random start and other settings."""
    tables = []
    for algorithm in Algorithm:
        specs = [spec for spec in REGISTRY.values() if spec.algorithm == algorithm]
        lines = [row(spec) for spec in specs]
        head = [
            "| method | framework | random start | other settings and defaults |",
            "|---|---|---|---|",
        ]
        tables.append("\n".join([f"### {algorithm[0].upper()}{algorithm[1:]}", "", *head, *lines]))
    return "\n\n".join(tables)


def row(spec: MethodSpec) -> str:
    fields = spec.settings_model().model_json_schema().get("properties", {})
    start = [UNSAID.get(spec.name, shown(field)) for name, field in fields.items() if name in STARTS]
    others = [f"`{name}` {shown(field)}" for name, field in fields.items() if name not in STARTS]
    return f"| `{spec.name}` | {spec.framework} {locked(spec)} | {start[0] if start else '–'} | {', '.join(others) or '–'} |"


def draws() -> str:
    """Return a table of how often random searches repeat a configuration, and which parameters they draw unevenly.

    Ray's random search is left out, because every search would start Ray again.
    """
    lines = ["| method | configurations per seed | repeated | drawn unevenly |", "|---|---|---|---|"]
    specs = [spec for spec in REGISTRY.values() if spec.is_random]
    return "\n".join([*lines, *(draws_of(spec.name) for spec in specs if not spec.process_per_search)])


def draws_of(name: str) -> str:
    searches = [drawn(name, seed) for seed in SEEDS]
    repeated = fmean(1 - len({tuple(c.items()) for c in configs}) / len(configs) for configs in searches)
    tests = [test for p in STEPPED if (test := evenness_of(p, STEPPED[p], [c[p] for configs in searches for c in configs]))]
    uneven = [said(e, len(tests)) for e in tests if e.p * len(tests) < 0.05]
    return f"| `{name}` | {fmean(map(len, searches)):.0f} | {percent(repeated)} | {'; '.join(uneven) or 'nothing'} |"


def drawn(name: str, seed: int) -> list[dict[str, Value]]:
    with tempfile.TemporaryDirectory() as folder:
        record = Subject(find(name)).search(Path(folder), STEPPED, Limits(trials=DRAWS), seed, max_epochs=1)
    return [dict(p.config) for p in record.proposals]


def said(e: Evenness, tests: int) -> str:
    return f"{e.parameter}: {e.most} {percent(e.share)} of the time instead of {percent(e.expected)} ({p_value(e.p * tests)})"


def page() -> str:
    """Return the text of the page. Draws some thousand configurations."""
    text = (HERE / "frameworks.template").read_text(encoding="utf-8")
    return text.replace("@defaults@", defaults()).replace("@draws@", draws())


if __name__ == "__main__":
    (HERE.parents[1] / "docs" / "frameworks.md").write_text(page(), encoding="utf-8")
