"""The answer in sentences: what was found, and how little or much it says."""

from __future__ import annotations

from ..analysis.results import Results
from ..analysis.summaries import ENOUGH_SEEDS, Answer, CellScore, mean_spent
from ..core.text import OWN_MODELS, count, duration, is_share, listed, metric_name, named, plural, points, score, spread


def score_of(results: Results, dataset: str, method: str) -> CellScore:
    """The score of a cell."""
    return next(s for s in results.scores if s.dataset == dataset and s.method == method)


def winner_sentences(results: Results, answer: Answer) -> list[str]:
    """What the winner (of several alike, the first) found, what it gives on the test images, and what it used."""
    metric = results.study.metric
    if not answer.winners:
        return ["No trial has a score yet."]
    first = score_of(results, answer.dataset, answer.winners[0])
    best = first.best
    assert best is not None
    if len(answer.winners) == 1:
        found = f"{first.method} found the best {metric_name(metric)}, {score(best.objective, metric)}"
        found += f" (trial {best.trial} of seed {best.seed})."
    else:
        found = f"{named(answer.winners)} found the same best {metric_name(metric)}, {score(best.objective, metric)}."
        found += f" What follows is about {first.method}."
    replayed = results.study.replayed
    return [found, _seeds_sentence(first, metric), _test_sentence(first, replayed), _spent_sentence(first)]


def system_sentences(results: Results, dataset: str) -> list[str]:
    """What each system that trains models of its own gives on the test images, and in which time: all that compares."""
    said = []
    for s in (s for s in results.scores if s.dataset == dataset and s.own_models):
        _, _, seconds = mean_spent(s)
        reached = f"{spread(s.test.accuracy.mean, s.test.accuracy.sd, 'accuracy')} % on the test images" if s.test else None
        said.append(
            f"{s.method} {OWN_MODELS}: {reached or 'not scored on the test images yet'}, after {duration(seconds)} a seed."
        )
    return said


def twin_sentences(results: Results, dataset: str) -> list[str]:
    """Which methods were one and the same here, as they are until their common start-up trials end."""
    found = next(d.twins for d in results.datasets if d.name == dataset)
    return [f"{listed(methods)} proposed the very same trials: within this budget nothing sets them apart." for methods in found]


def separation(results: Results, answer: Answer) -> str:
    """What the difference between the methods is worth at a glance; the tests are those of the statistics."""
    metric = results.study.metric
    if answer.verdict == "nothing":
        if any(s.own_models for s in results.scores if s.dataset == answer.dataset):
            return "Only systems that train their own models have results here: see their test scores."
        return "There is nothing to compare yet."
    if answer.verdict == "alone":
        return "Only one method has results here, so there is nothing to compare it with."
    leader = score_of(results, answer.dataset, answer.leader or "")
    runner_up = score_of(results, answer.dataset, answer.runner_up or "")
    seeds = min(leader.incumbents.n, runner_up.incumbents.n)
    by = "By the mean over seeds, " if seeds > 1 else ""
    if answer.lead == 0:
        lead = f"{by}{leader.method} and {runner_up.method} are level."
    else:
        lead = f"{by}{leader.method} leads {runner_up.method} by {points(answer.lead or 0.0, metric)}{_compared(answer, metric)}."
    few = f" {plural(seeds, 'seed').capitalize()} {'is' if seeds == 1 else 'are'} too few to separate the methods."
    beyond = " Whether that is more than chance stands under Statistics." if answer.verdict == "beyond the spread" else ""
    return lead + (few if seeds < ENOUGH_SEEDS else beyond) + _unfinished(results, answer)


def _compared(answer: Answer, metric: str) -> str:
    if answer.spread is None:
        return ", with no spread to compare it with"
    deviation = f"the spread over seeds (standard deviation {points(answer.spread, metric)})"
    within = (answer.lead or 0.0) <= answer.spread
    return f", which is within {deviation} and shows no difference" if within else f", which is more than {deviation}"


def _unfinished(results: Results, answer: Answer) -> str:
    open_ = [s.method for s in results.states if s.dataset == answer.dataset and s.state != "complete"]
    return f" Not complete: {named(open_)}." if open_ else ""


def _seeds_sentence(first: CellScore, metric: str) -> str:
    found = first.incumbents
    if found.sd is None:
        return "It has results for one seed only, so its spread is not known."
    reached = spread(found.mean, found.sd, metric) + (" %" if is_share(metric) else "")
    return f"Over {plural(found.n, 'seed')} its incumbents reach {reached}."


def _test_sentence(first: CellScore, replayed: bool) -> str:
    if first.test is None and replayed:
        return "The table has no test score of its incumbent."
    if first.test is None:
        return "Its incumbent has not been scored on the test images."
    accuracy = first.test.accuracy
    reached = spread(accuracy.mean, accuracy.sd, "accuracy")
    if replayed:
        return f"Its incumbent, as it was trained for the table, reaches {reached} % on the test images."
    again = f"retrained {accuracy.n} times, " if accuracy.n > 1 else "retrained once, "
    return f"Its incumbent, {again}reaches {reached} % on the test images."


def _spent_sentence(first: CellScore) -> str:
    configurations, epochs, seconds = mean_spent(first)
    return (
        f"It used {count(configurations)} configurations, {count(epochs)} epochs and {duration(seconds)} a seed"
        f" ({plural(first.usage.searches, 'seed')})."
    )
