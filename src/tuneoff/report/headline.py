"""Write the answer for each data set as sentences: who found the best score, on what budget, and how certain the lead is."""

from __future__ import annotations

from ..analysis.results import Results
from ..analysis.summaries import ENOUGH_SEEDS, Answer, CellScore, mean_spent
from ..core.text import OWN_MODELS, count, duration, is_share, listed, metric_name, named, plural, points, score, spread


def score_of(results: Results, dataset: str, method: str) -> CellScore:
    """Return the score of a cell, which is a method on a data set."""
    return next(s for s in results.scores if s.dataset == dataset and s.method == method)


def winner_sentences(results: Results, answer: Answer) -> list[str]:
    """Return the winner's best score, its spread over seeds, its test accuracy and the budget that it used.

    If several methods found the same best score, the last three sentences are about the first of them.
    """
    metric = results.study.metric
    if not answer.winners:
        return ["No trial has a score yet."]
    first = score_of(results, answer.dataset, answer.winners[0])
    best = first.best
    assert best is not None
    if len(answer.winners) == 1:
        winner = f"{first.method} found the best {metric_name(metric)}, {score(best.objective, metric)}"
        winner += f" (trial {best.trial} of seed {best.seed})."
    else:
        winner = f"{named(answer.winners)} found the same best {metric_name(metric)}, {score(best.objective, metric)}."
        winner += f" The next sentences are about {first.method}."
    replayed = results.study.replayed
    return [winner, _seeds_sentence(first, metric), _test_sentence(first, replayed), _spent_sentence(first)]


def system_sentences(results: Results, dataset: str) -> list[str]:
    """Return the test accuracy and the time of each system that trains its own models; nothing else of it is comparable."""
    sentences = []
    for s in (s for s in results.scores if s.dataset == dataset and s.own_models):
        _, _, seconds = mean_spent(s)
        reached = f"{spread(s.test.accuracy.mean, s.test.accuracy.sd, 'accuracy')} % on the test images" if s.test else None
        sentences.append(
            f"{s.method} {OWN_MODELS}: {reached or 'not scored on the test images yet'}, after {duration(seconds)} per seed."
        )
    return sentences


def twin_sentences(results: Results, dataset: str) -> list[str]:
    """Return which methods proposed identical trials, as methods with the same random start-up trials do at first."""
    groups = next(d.twins for d in results.datasets if d.name == dataset)
    return [f"{listed(methods)} proposed identical trials, so this budget cannot tell them apart." for methods in groups]


def separation(results: Results, answer: Answer) -> str:
    """Return how far the best method leads and whether the spread over seeds explains it. This is no statistical test."""
    metric = results.study.metric
    if answer.verdict == "nothing":
        if any(s.own_models for s in results.scores if s.dataset == answer.dataset):
            return "Only systems that train their own models have results here. Compare their test scores."
        return "No method has results yet, so there is nothing to compare."
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
    beyond = " The section Statistics tests whether this is chance." if answer.verdict == "beyond the spread" else ""
    return lead + (few if seeds < ENOUGH_SEEDS else beyond) + _unfinished(results, answer)


def _compared(answer: Answer, metric: str) -> str:
    if answer.spread is None:
        return ", but its spread over seeds is unknown"
    deviation = f"the spread over seeds (standard deviation {points(answer.spread, metric)})"
    within = (answer.lead or 0.0) <= answer.spread
    return f". This lead is within {deviation}, so it shows no difference" if within else f". This lead exceeds {deviation}"


def _unfinished(results: Results, answer: Answer) -> str:
    open_ = [s.method for s in results.states if s.dataset == answer.dataset and s.state != "complete"]
    return f" Not complete yet: {named(open_)}." if open_ else ""


def _seeds_sentence(first: CellScore, metric: str) -> str:
    incumbents = first.incumbents
    if incumbents.sd is None:
        return "It has results for one seed only, so its spread is not known."
    reached = spread(incumbents.mean, incumbents.sd, metric) + (" %" if is_share(metric) else "")
    return f"Over {plural(incumbents.n, 'seed')}, its best score is {reached} on average."


def _test_sentence(first: CellScore, replayed: bool) -> str:
    if first.test is None and replayed:
        return "The table has no test score for its best trial."
    if first.test is None:
        return "Its best configuration has not been scored on the test images yet."
    accuracy = first.test.accuracy
    reached = spread(accuracy.mean, accuracy.sd, "accuracy")
    if replayed:
        return f"Its best trial reaches {reached} % on the test images in the table's own training."
    times = f"{accuracy.n} times" if accuracy.n > 1 else "once"
    return f"Its best configuration, retrained {times}, reaches {reached} % on the test images."


def _spent_sentence(first: CellScore) -> str:
    configurations, epochs, seconds = mean_spent(first)
    return (
        f"It used {count(configurations)} configurations, {count(epochs)} epochs and {duration(seconds)} per seed"
        f" (mean of {plural(first.usage.searches, 'seed')})."
    )
