"""The statistics in sentences: what is significant and what is not, what would settle it, and what is recommended."""

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
    "seconds": "by seconds, training and method",
}
PARTS = {0.25: "a quarter", 0.5: "half", 1.0: "all"}


def epochs_said(budgets: Sequence[float], full_epochs: int) -> str:
    """A budget of epochs, also in full trainings; from the least to the most where data sets differ."""
    least, most = round(min(budgets)), round(max(budgets))
    trainings = (f"{least / full_epochs:.3g}", f"{most / full_epochs:.3g}")
    if least == most:
        return f"{plural(least, 'epoch')} ({trainings[0]} full trainings)"
    return f"{count(least)} to {plural(most, 'epoch')} ({trainings[0]} to {trainings[1]} full trainings)"


def p_said(p: float) -> str:
    """A p-value for running text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"


def scope_sentences(results: Results, scope: Scope) -> list[str]:
    """What the comparison says, by epochs; then whether the other clocks and the unfinished searches say the same."""
    main = next((c for c in scope.clocks if c.clock == "epochs"), None)
    if main is None:
        return ["No common budget of epochs was reached, so the methods are not compared."]
    last = main.comparisons[-1]
    leader = last.standings[0]
    budget = epochs_said(list(last.budgets.values()), _full_epochs(results))
    found = [
        f"At {budget}, the most that every method could spend, {leader.method} has the best mean rank: {leader.rank:.2f} of"
        f" {len(last.standings)}, over {_blocks_said(scope)}."
    ]
    found += _friedman_said(last)
    found += _pairs_said(scope, main, leader.method)
    found += _unknown_said(main, last)
    found += _fixed_said(scope)
    return found + _clocks_said(scope, leader.method)


def recommendation_sentences(results: Results, scope: Scope) -> list[str]:
    """Which method to use, how sure that is, what is as good, and what would change it."""
    if not scope.choices:
        return ["Nothing can be recommended: no common budget of epochs was reached."]
    main = next(c for c in scope.clocks if c.clock == "epochs")
    choice = scope.choices[len(SHARES) - 1]
    budget = epochs_said(list(main.comparisons[-1].budgets.values()), _full_epochs(results))
    where = f"a budget of {budget} on data like {listed(scope.datasets)}"
    if choice.best is None:
        return [refusal_said(choice, where)]
    said = [recommendation_said(choice, where, _settings(results))]
    p = main.comparisons[-1].friedman
    if p is not None and p > ALPHA:
        said.append(f"Friedman's test does not show that the methods differ at all ({p_said(p)}).")
    return said + _changes_said(results, scope, choice)


def recommendation_said(choice: Choice, where: str, settings: dict[str, dict[str, object]]) -> str:
    """The recommendation itself."""
    first = next(s for s in choice.standings if s.method == choice.best)
    left_out = choice.not_considered
    among = " of the methods whose searches differ with the seed" if left_out else ""
    said = (
        f"For {where}, use {first.method} with {settings_said(settings[first.method])}: it has the best mean rank{among},"
        f" {first.mean_rank:.2f} of {len(choice.standings)}, and is the best in {percent(first.probability)} of the bootstrap"
        " draws over seeds."
    )
    said += f" As good: {named(choice.as_good)}." if choice.as_good else " No other method is as good."
    return said + (f" Not considered: {named(left_out)}, whose seeds are one search." if left_out else "")


def refusal_said(choice: Choice, where: str) -> str:
    """Why nothing is recommended."""
    if len(choice.standings) < 2:
        return f"For {where}, nothing can be recommended: one method has results, and there is nothing to compare it with."
    if choice.seeds == 1:
        return (
            f"For {where}, nothing can be recommended: with one seed, a lucky search cannot be told from a better method."
            f" {choice.leader} did best; run at least {ENOUGH_SEEDS} seeds to know more."
        )
    return (
        f"For {where}, nothing can be recommended: {choice.leader} did best, but {choice.seeds} seeds are too few to say how sure"
        f" that is, and at least {ENOUGH_SEEDS} are needed."
    )


def pair_said(pair: Pair, scope: Scope) -> str:
    """What would tell the two apart."""
    if pair.more_seeds == 0:
        return "told apart"
    if pair.more_seeds is None:
        return "too alike for any number of seeds"
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
    return [f"Friedman's test finds no difference among the methods ({p_said(last.friedman)}): the order may be chance."]


def _pairs_said(scope: Scope, main: ClockStatistics, leader: str) -> list[str]:
    tests = len(main.pairs)
    mine = [p for p in main.pairs if p.first == leader]
    rule = f"Wilcoxon's signed-rank test over {_unit(scope)}, Holm's correction over {plural(tests, 'pair')}, α = {ALPHA:g}"
    if scope.blocks < fewest_blocks(tests):
        return [
            f"No difference between two methods can be significant with {_blocks_said(scope)}, whatever the numbers ({rule}):"
            f" at least {fewest_blocks(tests)} are needed."
        ]
    apart = [p for p in mine if p.p <= ALPHA]
    alike = [p for p in mine if p.p > ALPHA]
    found = []
    if apart:
        found.append(f"It is significantly better than {named([p.second for p in apart])} ({rule}).")
    if alike:
        closest = alike[0]
        known = f"There is no significant difference from {named([p.second for p in alike])}" + ("." if apart else f" ({rule}).")
        found.append(f"{known} {_more_said(closest, scope)}")
    return found


def _more_said(pair: Pair, scope: Scope) -> str:
    if pair.more_seeds is None:
        return f"{pair.first} and {pair.second} ({p_said(pair.p)}) are too alike to be told apart by any number of seeds."
    more = plural(pair.more_seeds, "more seed")
    if len(scope.datasets) > 1 and pair.more_datasets is not None:
        more += f" on each data set, or {plural(pair.more_datasets, 'more data set')},"
    return (
        f"If {pair.first} and {pair.second} ({p_said(pair.p)}) differ as much as it looks, about {more} would show it with"
        f" power {POWER:g}."
    )


def _unknown_said(main: ClockStatistics, last: Comparison) -> list[str]:
    open_ = [s for s in last.standings if s.unknown]
    if not open_:
        return []
    whose = named([f"{s.method} ({s.unknown})" for s in open_])
    leader = last.standings[0].method
    otherwise = min(last.standings, key=lambda s: s.rank_best_case).method
    mine = [p for p in main.pairs if leader in (p.first, p.second)]
    flipped = [p for p in mine if (p.p <= ALPHA) != (p.p_best_case <= ALPHA)]
    head = f"Failed, missing or unfinished searches, which count as the worst of their block: {whose}."
    if otherwise == leader and not flipped:
        return [f"{head} If they counted as the best, {leader} would still lead, and the same differences would be significant."]
    if otherwise != leader:
        return [f"{head} If they counted as the best, {otherwise} would lead: the conclusion depends on them."]
    others = named([p.second if p.first == leader else p.first for p in flipped])
    return [
        f"{head} If they counted as the best, {leader} would still lead, but whether it differs from {others} depends on them."
    ]


def _fixed_said(scope: Scope) -> list[str]:
    if not scope.fixed:
        return []
    whose, alone = named(scope.fixed), len(scope.fixed) == 1
    return [
        f"{whose} {'asks' if alone else 'ask'} for the same with every seed: the seeds of {'it' if alone else 'each'} are one"
        " search, and how lucky its order is on these data cannot be told from them."
    ]


def _clocks_said(scope: Scope, leader: str) -> list[str]:
    leaders = {c.clock: c.comparisons[-1].standings[0].method for c in scope.clocks if c.clock != "epochs"}
    other = [f"{CLOCKS[clock]}, {method} leads" for clock, method in leaders.items() if method != leader]
    if not leaders:
        return []
    if not other:
        return [f"{leader} leads on the other clocks too."]
    return ["On other clocks it is not the same: " + "; ".join(other) + "."]


def _changes_said(results: Results, scope: Scope, choice: Choice) -> list[str]:
    """What would change the recommendation, of what was measured."""
    main = next(c for c in scope.clocks if c.clock == "epochs")
    found = []
    for place, share in enumerate(SHARES[:-1]):
        if (other := scope.choices[place].leader) != choice.best:
            epochs = [round(b) for b in main.comparisons[place].budgets.values()]
            said = (
                plural(max(epochs), "epoch")
                if len(set(epochs)) == 1
                else f"{count(min(epochs))} to {plural(max(epochs), 'epoch')}"
            )
            found.append(f"a smaller budget ({PARTS[share]} of it, {said}: {other} leads)")
    if len(scope.choices) > len(SHARES) and (other := scope.choices[-1].leader) != choice.best:
        found.append(f"counting seconds, the method's own with them ({other} leads)")
    if choice.if_unknown_were_best != choice.best:
        found.append(f"the searches that have not ended ({choice.if_unknown_were_best} leads if they are good)")
    if scope.name == ALL:
        alone = {s.name: s.choices[len(SHARES) - 1].leader for s in results.statistics.scopes if s.name != ALL and s.choices}
        found += [f"the data ({other} leads on {name})" for name, other in alone.items() if other != choice.best]
    if choice.as_good:
        found.append(f"more seeds (they may part {choice.best} from {named(choice.as_good)})")
    if not found:
        return ["Nothing that was measured would change this: it leads at every budget, by epochs and by seconds."]
    return [f"What would change this: {'; '.join(found)}."]


def _unit(scope: Scope) -> str:
    return "seeds" if len(scope.datasets) == 1 else "data sets × seeds"


def _settings(results: Results) -> dict[str, dict[str, object]]:
    return {m["label"]: m["settings"] for m in results.study.study["methods"]}


def _full_epochs(results: Results) -> int:
    study = results.study.study
    return int(study["budget"]["epochs_per_trial"] * (study["split"]["folds"] or 1))
