"""Summaries of all methods' searches on the tables that come with Tuneoff, so that advice needs no new searches.

`python -m tuneoff.advice.bundled DIR` writes a summary from a finished table study into `data/`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..analysis.best_so_far import Progress, progress
from ..analysis.common_budget import anchors_of, ended_by_themselves, the_same_with_every_seed
from ..analysis.table_truth import table_facts
from ..core.errors import StudyError
from ..core.record.state import SearchRecord
from ..core.space import Model
from ..core.store.open import open_store
from ..core.store.study_store import StudyResult, read_study
from ..core.study import Study
from ..core.table import read_info

HERE = Path(__file__).parent / "data"
SCHEMA = 1
DECIMALS = 6


class Steps(Model):
    """The best loss of one search as a step function of the trained epochs."""

    method: str
    seed: int
    by_itself: bool  # the method ended the search before its budget was spent
    epochs: list[int]  # where the best loss changed, and the end of the search
    losses: list[float | None]  # the best loss from there on; None before the first score


class Outcome(Model):
    """All searches of a table study."""

    schema_version: int = SCHEMA
    table: str
    fingerprint: str  # of the table's rows
    study: Study
    versions: dict[str, list[str]]  # versions of the packages that searched; several if the searches differ
    regret_zero: float  # the loss of the table's best configuration
    regret_one: float  # the median loss of random search's trials
    fixed: list[str]  # methods that propose the same trials with every seed
    searches: list[Steps]

    def curves(self) -> list[Progress]:
        """Return the searches' best-so-far curves over epochs. All other fields of a curve are 0, since they are not stored."""
        return [_curve(s, self.study) for s in self.searches]


def outcome_of(result: StudyResult) -> Outcome:
    """Summarise the searches of a finished table study.

    Raises:
        StudyError: The study is not a table study, a search is unfinished, or no trial has a score.
    """
    study = result.study
    if study.objective.table is None:
        raise StudyError(f"the study {study.name} is not a table study: give the output folder of a table study.")
    searches = [search for cell in result.cells for search in cell.searches]
    unfinished = sorted({s.method for s in searches if s.ended is None})
    if unfinished:
        raise StudyError(f"the study {study.name} is unfinished ({', '.join(unfinished)}): continue it with `tuneoff run`.")
    info = read_info(study.objective.table.path)
    curves = [progress(search, study.objective) for search in searches]
    facts, _ = table_facts(result)
    anchors = anchors_of(study, curves, facts.best.get(study.datasets[0].name))
    if anchors is None:
        raise StudyError(f"the study {study.name} cannot be used: no trial has a score.")
    alone = ended_by_themselves(searches, study)
    return Outcome(
        table=info.name,
        fingerprint=info.fingerprint,
        study=_anywhere(study, info.name),
        versions=_versions(searches),
        regret_zero=round(anchors[0], DECIMALS),
        regret_one=round(sum(anchors), DECIMALS),
        fixed=sorted(the_same_with_every_seed(searches)),
        searches=[_steps(c, study, (c.dataset, c.method, c.seed) in alone) for c in curves],
    )


def write_outcome(outcome: Outcome, folder: Path = HERE) -> Path:
    """Write TABLE.json with one line per search, and return its path."""
    head = outcome.model_copy(update={"searches": []}).model_dump_json(exclude_defaults=True).removesuffix("}")
    lines = ",\n".join(s.model_dump_json() for s in outcome.searches)
    file = folder / f"{outcome.table}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{head},"schema_version":{SCHEMA},"searches":[\n{lines}\n]}}\n', encoding="utf-8")
    return file


def shipped(folder: Path = HERE) -> list[Outcome]:
    """Return the outcomes that come with Tuneoff, in the order of the tables' names."""
    return [Outcome.model_validate_json(file.read_bytes()) for file in sorted(folder.glob("*.json"))]


def _anywhere(study: Study, table: str) -> Study:
    """Return the study without any path of this machine."""
    sections = study.model_dump(mode="json", exclude_none=True)
    sections["objective"]["replay"]["table"] = f"{table}.parquet"
    return Study.model_validate(sections)


def _versions(searches: Sequence[SearchRecord]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for search in searches:
        for package, version in dict(search.header.get("versions") or {}).items():
            found[str(package)].add(str(version))
    return {package: sorted(versions) for package, versions in sorted(found.items())}


def _steps(curve: Progress, study: Study, by_itself: bool) -> Steps:
    losses = [None if np.isnan(value) else round(study.objective.sign * float(value), DECIMALS) for value in curve.best]
    last = len(losses) - 1
    kept = [i for i, loss in enumerate(losses) if i in (0, last) or loss != losses[i - 1]]
    return Steps(
        method=curve.method,
        seed=curve.seed,
        by_itself=by_itself,
        epochs=[int(curve.epochs[i]) for i in kept],
        losses=[losses[i] for i in kept],
    )


def _curve(steps: Steps, study: Study) -> Progress:
    best = study.objective.sign * np.array([np.nan if loss is None else loss for loss in steps.losses], dtype=float)
    unknown, numbers = np.zeros(len(best)), np.arange(len(best))
    return Progress(
        dataset=study.datasets[0].name,
        method=steps.method,
        seed=steps.seed,
        ended=True,
        trial=numbers,
        trials=unknown,
        epochs=np.array(steps.epochs, dtype=float),
        seconds=unknown,
        objective=best,
        best=best,
        incumbent=numbers,
    )


if __name__ == "__main__":
    print(write_outcome(outcome_of(read_study(open_store(sys.argv[1])))))
