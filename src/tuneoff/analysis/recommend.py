"""Recommend a method for a budget: the rule, its uncertainty, and its regret on data sets that it was not made from.

Methods are ranked within each block (a data set with a seed) by their regret at the budget. The method with the best mean rank is
recommended. Its probability of being the best is the share of bootstrap draws over blocks in which it has the best mean rank. The
methods that are "as good" are those that, together with it, are the best in 95 % of the draws.

With fewer than five seeds no method is recommended, because the draws would only repeat these few seeds. A method that proposes
the same configurations with every seed, as a grid in its own order does, is not recommended if there are other methods: its seeds
are one search, so luck cannot be distinguished from merit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.space import Model
from .best_so_far import Floats
from .stats.bootstrap import chances_of_best, means
from .stats.significance import ranks
from .summaries import ENOUGH_SEEDS

SURE = 0.95


@dataclass(frozen=True)
class Field:
    """The regret of each method at one budget on one data set."""

    dataset: str
    methods: tuple[str, ...]
    regret: Floats  # shape (seeds, methods); NaN if unknown
    fixed: frozenset[str] = frozenset()  # methods that propose the same configurations with every seed


class Standing(Model):
    """A method at the budget."""

    method: str
    mean_rank: float
    regret: float | None  # mean over blocks; None if any block has no score
    probability: float  # probability of being the best


class Choice(Model):
    """The recommendation for a group of data sets at one budget."""

    datasets: list[str]
    seeds: int  # smallest number of seeds of any data set
    best: str | None  # the recommended method; None if no method can be recommended
    leader: str | None  # the method with the best mean rank, recommended or not
    as_good: list[str]
    standings: list[Standing]  # the best mean rank first
    if_unknown_were_best: str | None  # the method with the best mean rank if every unknown value were the best of its block
    not_considered: list[str] = []  # methods that propose the same configurations with every seed


class Followed(Model):
    """The regret of following the rule on a data set that was left out when the rule was made."""

    dataset: str
    advised: str  # the method recommended from the other data sets
    regret: float  # regret of the recommended method on this data set
    best: str  # the best method on this data set
    best_regret: float
    random_regret: float | None  # regret of random search on this data set; None if it was not run


def choose(fields: Sequence[Field]) -> Choice:
    """Apply the rule to one or more data sets with the same methods. An unknown value counts as the worst of its block."""
    methods = fields[0].methods
    seeds = [len(f.regret) for f in fields]
    regrets = np.concatenate([f.regret for f in fields])  # (blocks, methods)
    worst, best = (ranks(np.where(np.isnan(regrets), case, regrets)) for case in (np.inf, -np.inf))
    fixed = set.intersection(*(set(f.fixed) for f in fields))
    eligible = [i for i, m in enumerate(methods) if m not in fixed] or list(range(len(methods)))
    mean, chances = means(worst, seeds), np.zeros(len(methods))
    chances[eligible] = chances_of_best(worst[:, eligible], seeds)
    regret = means(np.where(np.isnan(regrets), np.inf, regrets), seeds)
    order = np.argsort(mean, kind="stable")
    leader = next(methods[i] for i in order if i in eligible)
    enough = min(seeds) >= ENOUGH_SEEDS and len(methods) > 1
    return Choice(
        datasets=[f.dataset for f in fields],
        seeds=min(seeds),
        best=leader if enough else None,
        leader=leader,
        as_good=_as_good(methods, chances, leader) if enough else [],
        standings=[
            Standing(
                method=methods[i],
                mean_rank=float(mean[i]),
                regret=float(regret[i]) if np.isfinite(regret[i]) else None,
                probability=float(chances[i]),
            )
            for i in order
        ],
        if_unknown_were_best=methods[eligible[int(np.argmin(means(best[:, eligible], seeds)))]],
        not_considered=[m for i, m in enumerate(methods) if i not in eligible],
    )


def follow(fields: Sequence[Field], random: set[str]) -> list[Followed]:
    """Evaluate the rule by leave-one-out cross-validation over data sets.

    For each data set, the method with the best mean rank on all other data sets is compared with the best method on it.

    Args:
        fields: The regrets on each data set, all with the same methods.
        random: The labels of the random searches.

    Returns:
        One row for each data set on which the recommended method has a known regret; empty for fewer than two data sets.
    """
    rows = []
    for left_out in fields if len(fields) > 1 else []:
        advised = choose([f for f in fields if f is not left_out]).leader
        mean_regrets = dict(zip(left_out.methods, left_out.regret.mean(axis=0).tolist(), strict=True))
        regrets = {m: r for m, r in mean_regrets.items() if np.isfinite(r)}
        if advised not in regrets:
            continue
        best = min(regrets, key=lambda m: regrets[m])
        random_regrets = [r for m, r in regrets.items() if m in random]
        rows.append(
            Followed(
                dataset=left_out.dataset,
                advised=advised,
                regret=regrets[advised],
                best=best,
                best_regret=regrets[best],
                random_regret=float(np.mean(random_regrets)) if random_regrets else None,
            )
        )
    return rows


def _as_good(methods: Sequence[str], chances: Floats, leader: str) -> list[str]:
    """Return the other methods of the smallest set that holds the leader and covers 95 % of the draws, most probable first."""
    total = float(chances[methods.index(leader)])
    others = []
    for i in np.argsort(-chances, kind="stable"):
        if total >= SURE or chances[i] <= 0:
            break
        if methods[i] != leader:
            others.append(methods[i])
            total += float(chances[i])
    return others


def settings_said(settings: Mapping[str, object]) -> str:
    """Return a method's settings as text."""
    return ", ".join(f"{k} {v}" for k, v in settings.items()) if settings else "its defaults"
