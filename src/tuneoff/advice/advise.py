"""Recommend a method for a budget, from finished studies or shipped tables, and estimate the regret of the recommendation."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..analysis.best_so_far import Progress, progress
from ..analysis.common_budget import ended_by_themselves, random_methods, reading, the_same_with_every_seed
from ..analysis.recommend import Choice, Field, Followed, choose, follow
from ..core.errors import StudyError
from ..core.store.open import open_store
from ..core.store.study_store import read_study
from ..core.study import MethodChoice, Study
from ..core.text import listed
from ..report.statistics_text import epochs_said, recommendation_said, refusal_said
from .bundled import Outcome, shipped


@dataclass(frozen=True)
class Advice:
    """The recommendation for a budget, the methods that were left out, and the regret of following the rule."""

    choice: Choice
    followed: tuple[Followed, ...]  # for each data set, the regret there of the advice made from the other data sets
    left_out: dict[str, list[str]]  # methods whose budget was too small, and the data sets where it was
    epochs: int
    full_epochs: tuple[int, ...]  # of each study
    settings: dict[str, dict[str, object]]


@dataclass(frozen=True)
class Source:
    """The searches that advice is made from: those of a finished study, or those on a table that comes with Tuneoff."""

    place: str
    study: Study
    curves: Sequence[Progress]
    by_itself: Set[tuple[str, str, int]]
    fixed: frozenset[str]
    table: str | None = None  # the table's name, if the table comes with Tuneoff
    anchors: tuple[float, float] | None = None  # the table's best loss and the scale of its regret, known for such a table


def study_in(place: str) -> Source:
    """Return the searches of the study in an output folder or s3:// URI."""
    result = read_study(open_store(place))
    searches = [s for c in result.cells if not c.is_system for s in c.searches]
    return Source(
        place=place,
        study=result.study,
        curves=[progress(s, result.study.objective) for s in searches],
        by_itself=ended_by_themselves(searches, result.study),
        fixed=the_same_with_every_seed(searches),
    )


def shipped_tables() -> list[Source]:
    """Return the searches on the tables that come with Tuneoff."""
    return [on_table(outcome) for outcome in shipped()]


def on_table(outcome: Outcome) -> Source:
    """Return the searches of an outcome that comes with Tuneoff."""
    name = outcome.study.datasets[0].name
    return Source(
        place=f"the table {outcome.table}",
        study=outcome.study,
        curves=outcome.curves(),
        by_itself={(name, s.method, s.seed) for s in outcome.searches if s.by_itself},
        fixed=frozenset(outcome.fixed),
        table=outcome.table,
        anchors=(outcome.regret_zero, (outcome.regret_one - outcome.regret_zero) or 1.0),
    )


def advise(sources: Sequence[Source], epochs: int) -> Advice:
    """Apply the rule of the report's recommendation to all data sets of the sources.

    Only methods that had the budget on every data set are compared.

    Args:
        sources: The searches to compare.
        epochs: The budget of one search, in epochs.

    Raises:
        StudyError: No search had this budget, fewer than two methods had it on every data set, or one label means different
            methods.
    """
    for source in sources:
        most = max((float(c.epochs[-1]) for c in source.curves if len(c.trial)), default=epochs)
        if most <= epochs - source.study.full_epochs:
            raise StudyError(f"--budget {epochs} is too large: no search of {source.place} trained more than {most:.0f} epochs.")
    places = listed([s.place for s in sources])
    methods = _methods(sources)
    every = [field for source in sources for field in _fields(source, epochs, len(sources) > 1)]
    if not every:
        raise StudyError(f"{places}: no search has a score yet, so no advice can be given. Finish the study first.")
    common = [m for m in methods if all(m in field.methods for field in every)]
    left_out = {m: [f.dataset for f in every if m not in f.methods] for m in methods if m not in common}
    if len(methods) < 2:
        raise StudyError(f"{places}: there is only one method. Advice needs at least two.")
    if len(common) < 2:
        lacking = "; ".join(f"{m} not on {listed(names)}" for m, names in left_out.items())
        why = f"fewer than two methods had a budget of {epochs} epochs on every data set ({lacking})"
        raise StudyError(f"--budget {epochs} is too large: {why}. Give a smaller budget.")
    fields = [Field(f.dataset, tuple(common), f.regret[:, [f.methods.index(m) for m in common]], f.fixed) for f in every]
    random = set().union(*(random_methods(s.study) for s in sources))
    return Advice(
        choice=choose(fields),
        followed=tuple(follow(fields, random)),
        left_out=left_out,
        epochs=epochs,
        full_epochs=tuple(sorted({s.study.full_epochs for s in sources})),
        settings={label: dict(methods[label].settings) for label in common},
    )


def lines(advice: Advice) -> list[str]:
    """Return the advice as sentences, one per line."""
    choice = advice.choice
    where = f"a budget of {epochs_said([advice.epochs], advice.full_epochs[0])} on data like {listed(choice.datasets)}"
    if len(advice.full_epochs) > 1:
        where = f"a budget of {advice.epochs} epochs on data like {listed(choice.datasets)}"
    said = [recommendation_said(choice, where, advice.settings) if choice.best else refusal_said(choice, where)]
    said += [
        f"{s.method}: mean rank {s.mean_rank:.2f}, the best in {100 * s.probability:.0f} % of the bootstrap draws"
        + ("" if s.regret is None else f", normalised regret {s.regret:.3f}")
        for s in choice.standings
    ]
    if len(choice.datasets) == 1:
        said.append("The regret of this advice on other data is not known: to estimate it, give a second data set.")
    said += [_followed_line(f) for f in advice.followed]
    said += [
        f"Not considered: {m}, whose budget was below {advice.epochs} epochs on {listed(d)}." for m, d in advice.left_out.items()
    ]
    return said


def advice_json(advice: Advice) -> dict[str, Any]:
    """Return the advice as JSON data, for scripts."""
    return {
        "epochs": advice.epochs,
        **json.loads(advice.choice.model_dump_json()),
        "settings": advice.settings,
        "followed": [json.loads(f.model_dump_json()) for f in advice.followed],
        "left_out": advice.left_out,
    }


def _followed_line(found: Followed) -> str:
    lots = "" if found.lots is None else f"; random search has {found.lots:.3f}"
    return (
        f"Check on {found.dataset}: the other data sets advise {found.advised} (normalised regret {found.regret:.3f})."
        f" The best method there is {found.best} ({found.best_regret:.3f}){lots}."
    )


def _methods(sources: Sequence[Source]) -> dict[str, MethodChoice]:
    """Return the methods of all sources by label, in the studies' order."""
    found: dict[str, tuple[str, MethodChoice]] = {}
    for source in sources:
        for method in source.study.methods:
            place, known = found.setdefault(method.label, (source.place, method))
            if known != method:
                raise StudyError(
                    f"The label {method.label} means another method or other settings in {source.place} than in {place}."
                    " Give one of the two another label."
                )
    return {label: method for label, (_, method) in found.items()}


def _fields(source: Source, epochs: int, several: bool) -> list[Field]:
    study, found = source.study, []
    for name in (d.name for d in study.datasets):
        if read := reading(study, source.curves, source.by_itself, name, epochs, source.anchors):
            called = source.table or (f"{name} of {study.name}" if several else name)
            found.append(Field(called, *read, source.fixed))
    return found
