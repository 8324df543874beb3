"""Write a study's results into docs/hyperband.md: `python tools/docs/write_hyperband.py runs/hyperband/report/results.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from tuneoff.analysis.stats.paired_tests import apart, differences, interval
from tuneoff.core.text import NOTHING, bare, count, difference, p_value, spread

PAGE = Path(__file__).parents[2] / "docs" / "hyperband.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"
RANDOM = ("random", "keras-tuner-random")


def measured(results: dict[str, Any]) -> str:
    """Return the results as Markdown: one table per data set, and claim C6."""
    return "\n\n".join([about(results), *[part for name in names(results) for part in dataset(results, name)]]) + "\n"


def names(results: dict[str, Any]) -> list[str]:
    return [d["name"] for d in results["datasets"]]


def about(results: dict[str, Any]) -> str:
    study = results["study"]["study"]
    images = [f"{d['name']} {count(d['subset']['train'])} images for training" for d in study["datasets"] if d["subset"]["train"]]
    budget = study["budget"]
    return (
        f"Study `{study['name']}` of {results['study']['created_at'][:10]} ({', '.join(images) or 'whole data sets'}):"
        f" {count(budget['epochs'])} epochs per search, {budget['epochs_per_trial']} per trial, {len(study['seeds'])} seeds."
        " Incumbents are validation accuracies in per cent, ± the standard deviation over seeds. Differences are paired by seed"
        " and given in percentage points, with the 95 % interval and the p value of a paired t test."
    )


def dataset(results: dict[str, Any], name: str) -> list[str]:
    scores = [s for s in results["scores"] if s["dataset"] == name]
    random = next((s for s in scores if s["name"] in RANDOM), None)
    head = [
        "method",
        "settings",
        "configurations",
        "trials",
        "epochs",
        "incumbent",
        "minus random search",
        "minus the row above",
        "test",
    ]
    rows = [row(s, random, scores[place - 1] if place else None) for place, s in enumerate(scores)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    findings = [f for c in results["claims"] if c["number"] == "C6" for f in c["findings"] if f["dataset"] == name]
    ten = [f"- {f['said']} The claim is {f['verdict']} here ({p_value(f['p'])})." for f in findings]
    return [
        f"### {name}",
        "\n".join(lines),
        *(["The ten best trials of each seed, by training accuracy:", "\n".join(ten)] if ten else []),
    ]


def row(score: dict[str, Any], random: dict[str, Any] | None, above: dict[str, Any] | None) -> list[str]:
    searches = max(score["usage"]["searches"], 1)
    settings = ", ".join(f"{k}: {v}" for k, v in score["settings"].items())
    test = score["test"]["accuracy"] if score["test"] else None
    return [
        f"`{score['method']}`",
        settings or "its defaults",
        *[count(score["usage"][what] / searches) for what in ("configurations", "trials", "epochs")],
        spread(score["incumbents"]["mean"], score["incumbents"]["sd"], "accuracy"),
        less(score, random),
        less(score, above),
        bare(test["mean"] if test else None, "accuracy"),
    ]


def less(score: dict[str, Any], other: dict[str, Any] | None) -> str:
    """Return the paired difference of two methods' incumbents, with its interval and p value."""
    if other is None or other["method"] == score["method"]:
        return NOTHING
    values = differences(by_seed(score), by_seed(other))
    bounds = interval(values, 0.95)
    if bounds is None:
        return NOTHING
    low, high = (difference(b, "accuracy") for b in bounds)
    return f"{difference(fmean(values), 'accuracy')} ({low} … {high}; {p_value(apart(values))})"


def by_seed(score: dict[str, Any]) -> dict[int, float]:
    return {int(seed): value for seed, value in score["by_seed"].items()}


def written(page: str, text: str) -> str:
    """Return the page with this text between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text}{END}{after}"


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), measured(results)), encoding="utf-8")
