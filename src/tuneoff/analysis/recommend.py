"""Which method to use at a budget: one rule, its uncertainty, and what following it elsewhere would have cost.

Rule. Methods are ranked within each block (a data set with a seed) by what they had found at the budget; the method of the best
mean rank is recommended. Its probability of being the best is the share of bootstrap draws over blocks in which it is. As good
are the methods that, with it, make up 95 % of those draws. With fewer than five seeds nothing is recommended: the draws would
only repeat the few seeds that there are. Nor is a method recommended that asks for the same whatever its seed, as a grid in its
own order does, beside others that do not: its seeds are one search, whose luck cannot be told from merit.
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
    """What the methods had found at one budget on one data set: regrets, shape (seeds, methods); NaN where it is not known."""

    dataset: str
    methods: tuple[str, ...]
    regret: Floats
    fixed: frozenset[str] = frozenset()  # the methods whose searches are the same with every seed


class Standing(Model):
    """A method at the budget."""

    method: str
    mean_rank: float
    regret: float | None  # the mean over seeds; None where a seed has found nothing
    probability: float  # of being the best


class Choice(Model):
    """What the rule says of some data sets at one budget."""

    datasets: list[str]
    seeds: int  # of the data set that has the fewest
    best: str | None  # None where nothing can be recommended
    leader: str | None  # the method of the best mean rank, recommended or not
    as_good: list[str]
    standings: list[Standing]  # the best mean rank first
    if_unknown_were_best: str | None  # the method of the best mean rank if every unknown value were the best
    not_considered: list[str] = []  # methods that ask for the same with every seed


class Followed(Model):
    """What following the rule would have cost on a data set that it was not made from."""

    dataset: str
    advised: str
    regret: float  # of the advised method there
    best: str  # the method that was the best there
    best_regret: float
    lots: float | None  # the regret of random search there, where it was run


def choose(fields: Sequence[Field]) -> Choice:
    """The rule, over data sets with the same methods. An unknown value counts as the worst."""
    methods = fields[0].methods
    seeds = [len(f.regret) for f in fields]
    found = np.concatenate([f.regret for f in fields])
    worst, best = (ranks(np.where(np.isnan(found), case, found)) for case in (np.inf, -np.inf))
    fixed = set.intersection(*(set(f.fixed) for f in fields))
    able = [i for i, m in enumerate(methods) if m not in fixed] or list(range(len(methods)))
    mean, chances = means(worst, seeds), np.zeros(len(methods))
    chances[able] = chances_of_best(worst[:, able], seeds)
    regret = means(np.where(np.isnan(found), np.inf, found), seeds)
    order = np.argsort(mean, kind="stable")
    leader = next(methods[i] for i in order if i in able)
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
        if_unknown_were_best=methods[able[int(np.argmin(means(best[:, able], seeds)))]],
        not_considered=[m for i, m in enumerate(methods) if i not in able],
    )


def follow(fields: Sequence[Field], random: set[str]) -> list[Followed]:
    """For each data set: the method of the best mean rank on all the others, and how it did there. Needs two data sets."""
    found = []
    for left_out in fields if len(fields) > 1 else []:
        advised = choose([f for f in fields if f is not left_out]).leader
        regret = dict(zip(left_out.methods, left_out.regret.mean(axis=0).tolist(), strict=True))
        known = {m: r for m, r in regret.items() if np.isfinite(r)}
        if advised not in known:
            continue
        best = min(known, key=lambda m: known[m])
        lots = [r for m, r in known.items() if m in random]
        found.append(
            Followed(
                dataset=left_out.dataset,
                advised=advised,
                regret=known[advised],
                best=best,
                best_regret=known[best],
                lots=float(np.mean(lots)) if lots else None,
            )
        )
    return found


def _as_good(methods: Sequence[str], chances: Floats, leader: str) -> list[str]:
    """The others of the smallest set that holds the leader and 95 % of the draws, the most probable first."""
    total = float(chances[methods.index(leader)])
    found = []
    for i in np.argsort(-chances, kind="stable"):
        if total >= SURE or chances[i] <= 0:
            break
        if methods[i] != leader:
            found.append(methods[i])
            total += float(chances[i])
    return found


def settings_said(settings: Mapping[str, object]) -> str:
    """A method's settings as words."""
    return ", ".join(f"{k} {v}" for k, v in settings.items()) if settings else "its defaults"
