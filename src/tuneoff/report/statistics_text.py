"""Write the statistics as sentences: which differences are significant, what would settle the others, which method to use."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.best_so_far import Axis
from ..analysis.recommend import Choice, settings_said
from ..analysis.results import Results
from ..analysis.stats.significance import ALPHA, POWER, fewest_blocks
from ..analysis.stats.statistics import ALL, SHARES, ClockStatistics, Comparison, Pair, Scope
from ..analysis.summaries import ENOUGH_SEEDS
from ..core.text import count, listed, named, percent, plural

CLOCKS: dict[Axis, str] = {
    "trials": "by configurations",
    "epochs": "by epochs trained",
    "seconds": "by seconds of training and method",
}
PARTS = {0.25: "a quarter", 0.5: "half", 1.0: "all"}


def epochs_said(budgets: Sequence[float], full_epochs: int) -> str:
    """Return a budget of epochs in words, also in full trainings, as a range if the data sets differ."""
    least, most = round(min(budgets)), round(max(budgets))
    trainings = (f"{least / full_epochs:.3g}", f"{most / full_epochs:.3g}")
    if least == most:
        return f"{plural(least, 'epoch')} ({trainings[0]} full trainings)"
    return f"{count(least)} to {plural(most, 'epoch')} ({trainings[0]} to {trainings[1]} full trainings)"


def p_said(p: float) -> str:
    """Return a p-value for running text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"


def scope_sentences(results: Results, scope: Scope) -> list[str]:
    """Return the result of the comparison by epochs, then whether unfinished searches or the other clocks would change it."""
    main = next((c for c in scope.clocks if c.clock == "epochs"), None)
    if main is None:
        return ["The methods are not compared, because they share no budget of epochs that all of them reached."]
    last = main.comparisons[-1]
    leader = last.standings[0]
    budget = epochs_said(list(last.budgets.values()), _full_epochs(results))
    sentences = [
        f"{leader.method} has the best mean rank ({leader.rank:.2f} of {len(last.standings)} methods) over {_blocks_said(scope)}"
        f" at {budget}, the largest budget that every method could use."
    ]
    sentences += _friedman_said(last)
    sentences += _pairs_said(scope, main, leader.method)
    sentences += _unknown_said(main, last)
    sentences += _fixed_said(scope)
    return sentences + _clocks_said(scope, leader.method)


def recommendation_sentences(results: Results, scope: Scope) -> list[str]:
    """Return which method to use, how certain that is, which methods are equally good, and what would change the choice.

    The last item, if there are several, is about possible changes. The report shows the others on its first screen.
    """
    if not scope.choices:
        return ["No method can be recommended, because the methods share no budget of epochs that all of them reached."]
    main = next(c for c in scope.clocks if c.clock == "epochs")
    choice = scope.choices[len(SHARES) - 1]
    budget = epochs_said(list(main.comparisons[-1].budgets.values()), _full_epochs(results))
    where = f"a budget of {budget} on data like {listed(scope.datasets)}"
    if choice.best is None:
        return [refusal_said(choice, where)]
    sentences = [recommendation_said(choice, where, _settings(results))]
    p = main.comparisons[-1].friedman
    if p is not None and p > ALPHA:
        sentences.append(f"However, Friedman's test finds no difference among the methods at all ({p_said(p)}).")
    return sentences + _changes_said(results, scope, choice)


def recommendation_said(choice: Choice, where: str, settings: dict[str, dict[str, object]]) -> str:
    """Return the recommendation: the method, its settings, its rank, and the methods that may be equally good.

    Args:
        choice: A choice that has a best method.
        where: The budget and the data that the recommendation is for, such as "a budget of 60 epochs on data like mnist".
        settings: The settings of each method by its label.
    """
    first = next(s for s in choice.standings if s.method == choice.best)
    left_out = choice.not_considered
    among = " among the methods whose searches depend on the seed" if left_out else ""
    text = (
        f"Use {first.method} with {settings_said(settings[first.method])} for {where}."
        f" It has the best mean rank{among} ({first.mean_rank:.2f} of {len(choice.standings)} methods)"
        f" and ranks first in {percent(first.probability)} of the bootstrap resamples of the seeds."
    )
    text += f" Possibly equally good: {named(choice.as_good)}." if choice.as_good else " No other method is equally good."
    whose = "it runs" if len(left_out) == 1 else "each of them runs"
    return text + (f" Not considered: {named(left_out)}, because {whose} the same search with every seed." if left_out else "")


def refusal_said(choice: Choice, where: str) -> str:
    """Return why no method is recommended, and how many seeds are needed."""
    if len(choice.standings) < 2:
        return f"No method can be recommended for {where}: only one method has results, so there is nothing to compare it with."
    if choice.seeds == 1:
        return (
            f"No method can be recommended for {where}: with one seed, a lucky search looks the same as a better method."
            f" {choice.leader} did best. Run at least {ENOUGH_SEEDS} seeds to know more."
        )
    return (
        f"No method can be recommended for {where}: {choice.leader} did best, but {choice.seeds} seeds are too few to say how"
        f" certain this is. Run at least {ENOUGH_SEEDS} seeds."
    )


def pair_said(pair: Pair, scope: Scope) -> str:
    """Return how many more seeds or data sets would show a significant difference between the two methods."""
    if pair.more_seeds == 0:
        return "already significant"
    if pair.more_seeds is None:
        return "too similar for any number of seeds"
    if len(scope.datasets) == 1 or pair.more_datasets is None:
        return f"about {plural(pair.more_seeds, 'more seed')}"
    return f"about {plural(pair.more_seeds, 'more seed')} on each, or {plural(pair.more_datasets, 'more data set')}"


def _blocks_said(scope: Scope) -> str:
    seeds = plural(scope.seeds, "seed")
    return seeds if len(scope.datasets) == 1 else f"{count(scope.blocks)} blocks ({len(scope.datasets)} data sets × {seeds})"


def _friedman_said(last: Comparison) -> list[str]:
    if last.friedman is None:
        return []
    if last.friedman <= ALPHA:
        return [f"Friedman's test finds that the methods differ ({p_said(last.friedman)})."]
    return [f"Friedman's test finds no difference among the methods ({p_said(last.friedman)}), so the order may be chance."]


def _pairs_said(scope: Scope, main: ClockStatistics, leader: str) -> list[str]:
    tests = len(main.pairs)
    pairs = [p for p in main.pairs if p.first == leader]
    rule = f"Wilcoxon signed-rank test over {_unit(scope)}, Holm correction over {plural(tests, 'pair')}, α = {ALPHA:g}"
    if scope.blocks < fewest_blocks(tests):
        return [
            f"With {_blocks_said(scope)}, no difference between two methods can be significant, whatever the numbers ({rule})."
            f" At least {fewest_blocks(tests)} {'seeds' if len(scope.datasets) == 1 else 'blocks'} are needed."
        ]
    different = [p for p in pairs if p.p <= ALPHA]
    similar = [p for p in pairs if p.p > ALPHA]
    sentences = []
    if different:
        sentences.append(f"{leader} is significantly better than {named([p.second for p in different])} ({rule}).")
    if similar:
        head = f"{leader} does not differ significantly from {named([p.second for p in similar])}"
        head += "." if different else f" ({rule})."
        sentences.append(f"{head} {_more_said(similar[0], scope)}")
    return sentences


def _more_said(pair: Pair, scope: Scope) -> str:
    if pair.more_seeds is None:
        return f"{pair.first} and {pair.second} ({p_said(pair.p)}) are too similar for any number of seeds to separate them."
    more = plural(pair.more_seeds, "more seed")
    if len(scope.datasets) > 1 and pair.more_datasets is not None:
        more += f" on each data set, or {plural(pair.more_datasets, 'more data set')},"
    return (
        f"If {pair.first} and {pair.second} ({p_said(pair.p)}) truly differ as much as observed, about {more} would show it"
        f" with a power of {POWER:g}."
    )


def _unknown_said(main: ClockStatistics, last: Comparison) -> list[str]:
    open_ = [s for s in last.standings if s.unknown]
    if not open_:
        return []
    whose = named([f"{s.method} ({s.unknown})" for s in open_])
    leader = last.standings[0].method
    otherwise = min(last.standings, key=lambda s: s.rank_best_case).method
    pairs = [p for p in main.pairs if leader in (p.first, p.second)]
    flipped = [p for p in pairs if (p.p <= ALPHA) != (p.p_best_case <= ALPHA)]
    head = f"Failed, missing or unfinished searches count as the worst of their block: {whose}."
    if otherwise == leader and not flipped:
        return [f"{head} If they counted as the best, {leader} would still lead, and the same differences would be significant."]
    if otherwise != leader:
        return [f"{head} If they counted as the best, {otherwise} would lead, so the conclusion depends on them."]
    others = named([p.second if p.first == leader else p.first for p in flipped])
    return [f"{head} If they counted as the best, {leader} would still lead, but its difference from {others} depends on them."]


def _fixed_said(scope: Scope) -> list[str]:
    if not scope.fixed:
        return []
    whose, single = named(scope.fixed), len(scope.fixed) == 1
    return [
        f"{whose} {'proposes' if single else 'propose'} the same configurations with every seed. The seeds of"
        f" {'this method' if single else 'each of these methods'} are one search, so they cannot show how lucky its order is."
    ]


def _clocks_said(scope: Scope, leader: str) -> list[str]:
    leaders = {c.clock: c.comparisons[-1].standings[0].method for c in scope.clocks if c.clock != "epochs"}
    other = [f"{CLOCKS[clock]}, {method} leads" for clock, method in leaders.items() if method != leader]
    if not leaders:
        return []
    if not other:
        return [f"{leader} also leads {listed([CLOCKS[clock] for clock in leaders])}."]
    return ["Another measure of the budget gives another leader: " + "; ".join(other) + "."]


def _changes_said(results: Results, scope: Scope, choice: Choice) -> list[str]:
    """Return which measured conditions would change the recommendation."""
    main = next(c for c in scope.clocks if c.clock == "epochs")
    changes = []
    for index, share in enumerate(SHARES[:-1]):
        if (other := scope.choices[index].leader) != choice.best:
            epochs = [round(b) for b in main.comparisons[index].budgets.values()]
            budget = (
                plural(max(epochs), "epoch")
                if len(set(epochs)) == 1
                else f"{count(min(epochs))} to {plural(max(epochs), 'epoch')}"
            )
            changes.append(f"a smaller budget ({other} leads at {PARTS[share]} of it, {budget})")
    if len(scope.choices) > len(SHARES) and (other := scope.choices[-1].leader) != choice.best:
        changes.append(f"a budget in seconds, including the time of the method itself ({other} leads)")
    if choice.if_unknown_were_best != choice.best:
        changes.append(f"good results of the unfinished searches ({choice.if_unknown_were_best} would lead)")
    if scope.name == ALL:
        leaders = {s.name: s.choices[len(SHARES) - 1].leader for s in results.statistics.scopes if s.name != ALL and s.choices}
        changes += [f"other data ({other} leads on {name})" for name, other in leaders.items() if other != choice.best]
    if choice.as_good:
        changes.append(f"more seeds (they may separate {choice.best} from {named(choice.as_good)})")
    if not changes:
        return ["No measured condition would change this: it leads at every budget, by epochs and by seconds."]
    return [f"These could change the choice: {'; '.join(changes)}."]


def _unit(scope: Scope) -> str:
    return "seeds" if len(scope.datasets) == 1 else "data sets × seeds"


def _settings(results: Results) -> dict[str, dict[str, object]]:
    return {m["label"]: m["settings"] for m in results.study.study["methods"]}


def _full_epochs(results: Results) -> int:
    study = results.study.study
    return int(study["budget"]["epochs_per_trial"] * (study["split"]["folds"] or 1))
