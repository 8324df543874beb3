"""The promises of a search method, one function each; a broken one is an AssertionError that says what was seen.

The objective is a bowl (bowl.py), so that a check costs what the method itself takes. Seeds are fixed: a check that passes once
passes again. False-alarm rates are those of methods that keep the promise, over all seeds that might have been chosen.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ..core.problem import Done, Limits, Outcome, Proposal, Status, Trial, TrialId, Wait
from ..core.record.state import TrialRecord, lineage
from ..core.space import PAPER_SPACE, Categorical, Float, Int, Space, Value
from ..core.study import Study
from ..methods.spec import Determinism, MethodSpec
from ..search.checkpoints import NoCheckpoints
from ..search.loop import TimedMethod
from .harness import MAX_EPOCHS, Kept, Subject
from .other_process import proposals_elsewhere
from .toy_objective import CONDITIONAL, LISTS, MIXED, SMOOTH, TINY, Bowl, drawn, share

FALSE_ALARM = 0.01
"""A method that is exactly as good as random search is called worse so often."""
FARTHEST = 0.4
"""So far may first draws be from uniform (the Kolmogorov-Smirnov distance): they need not be random. A linear range taken for a
logarithmic one, or the other way round, over the three decades of MIXED's ranges is farther than 0.6, half a range 0.5. First
generations drawn normally about the middle are at 0.2 to 0.33, a model that decides after the first trial at 0.23. The
false-alarm rate of 200 fair draws is below 1e-27 a range."""
END = 0.2
"""So near to both ends of a range, as a share of it, must first draws come; of 200 fair ones none does with 4e-20."""
MANY = 10
"""A parameter of more values than this is looked at as a range, one of fewer value by value."""
ALREADY_SEEN = 3
"""So many of six configurations are another seed's, at other places, by a fault alone: on ranges without steps not by chance."""
IN_FLIGHT = 4

Run = Callable[[Subject, Path], None]


@dataclass(frozen=True)
class Check:
    """One promise, and which methods give it."""

    name: str
    run: Run
    applies: Callable[[MethodSpec], bool]


CHECKS: dict[str, Check] = {}


def promise(applies: Callable[[MethodSpec], bool] = lambda spec: True) -> Callable[[Run], Run]:
    """Add a function to the checks under its own name."""

    def added(function: Run) -> Run:
        CHECKS[function.__name__] = Check(function.__name__, function, applies)
        return function

    return added


def checks_of(spec: MethodSpec) -> list[Check]:
    """The checks that this method's spec asks for; the contract is none of a system's that trains models of its own."""
    if spec.kind == "system":
        return []
    return [check for check in CHECKS.values() if check.applies(spec)]


# What it proposes


@promise()
def proposes_what_the_papers_space_allows(subject: Subject, folder: Path) -> None:
    _look(subject, folder, PAPER_SPACE)


@promise(lambda spec: spec.log and spec.step)
def proposes_what_a_mixed_space_allows(subject: Subject, folder: Path) -> None:
    _look(subject, folder, MIXED)


@promise(lambda spec: spec.conditional)
def proposes_active_parameters_alone(subject: Subject, folder: Path) -> None:
    _look(subject, folder, CONDITIONAL)


@promise(lambda spec: not spec.conditional)
def refuses_a_conditional_space(subject: Subject, folder: Path) -> None:
    _refused(subject, CONDITIONAL)


@promise(lambda spec: not (spec.log and spec.step))
def refuses_the_ranges_that_it_does_not_know(subject: Subject, folder: Path) -> None:
    _refused(subject, MIXED)


def _refused(subject: Subject, space: Space) -> None:
    study = Study.model_validate(
        {"name": "check", "datasets": ["mnist"], "methods": ["grid"], "budget": {"trials": 9, "epochs_per_trial": MAX_EPOCHS}}
    ).model_copy(update={"space": space})
    settings = subject.spec.settings_model().model_validate(dict(subject.settings))
    assert subject.spec.refusals(study, settings), "it does not refuse a space that its spec says it cannot do"


def _look(subject: Subject, folder: Path, space: Space) -> None:
    found = subject.search(folder, space, Limits(trials=subject.size.asks)).proposals
    assert found, "it proposed nothing"
    for place, proposal in enumerate(found):
        _valid(subject.spec, space, proposal, found[:place])


def _valid(spec: MethodSpec, space: Space, proposal: Proposal, earlier: Sequence[Proposal]) -> None:
    config = dict(proposal.config)
    assert space.activate(config) == config, f"inactive parameters are not removed, or values are off their steps: {config}"
    assert all(space[name].contains(value) for name, value in config.items()), f"outside of the space: {config}"
    back = json.loads(json.dumps(config))
    assert [(type(v), v) for v in back.values()] == [(type(v), v) for v in config.values()], f"not plain values: {config}"
    assert 1 <= proposal.target_epoch <= MAX_EPOCHS, f"target_epoch {proposal.target_epoch} of at most {MAX_EPOCHS}"
    assert spec.fidelity or proposal.target_epoch == MAX_EPOCHS, (
        f"declares no fidelity, and asks for {proposal.target_epoch} epochs"
    )
    if proposal.parent is not None:
        parent = earlier[proposal.parent]
        assert spec.warm_start or spec.fidelity, "declares neither warm start nor fidelity, and continues a trial"
        assert parent.target_epoch < proposal.target_epoch, "a continued trial trains no further than its parent"


@promise(lambda spec: spec.log and spec.step)
def its_first_draws_come_from_the_whole_space(subject: Subject, folder: Path) -> None:
    """No parameter, bound, level or scale is lost on the way to the framework and back.

    Looks at what many seeds ask first: every value of a parameter with few must be there, and a range's must lie over the whole
    of its own scale: a thousand draws, of a slow method 200. The rarest of MIXED's values is drawn with 1/8: missing among 200
    fair draws once in 4e11.
    """
    _drawn_from_all_of(MIXED, subject, folder, subject.size.seeds_drawn)


@promise()
def its_first_draws_come_from_all_of_a_space_of_lists(subject: Subject, folder: Path) -> None:
    """As before, where there is no range; the rarest value is drawn with 1/3: missing among 48 fair draws once in 3e8."""
    _drawn_from_all_of(LISTS, subject, folder, subject.size.seeds_drawn // 4)


def _drawn_from_all_of(space: Space, subject: Subject, folder: Path, seeds: int) -> None:
    found = [
        proposal.config
        for seed in range(seeds)
        for proposal in subject.search(folder, space, Limits(trials=subject.size.draws), seed).proposals
        if proposal.parent is None
    ]
    for name, parameter in space.items():
        values = [config[name] for config in found]
        few = _values(parameter)
        if few is not None:
            counted = Counter(map(repr, values))
            missing = [value for value in few if repr(value) not in counted]
            assert not missing, f"{name} is never {missing} in {len(values)} first draws: {dict(counted)}"
        else:
            shares = [share(parameter, value) for value in values]
            least, most, distance = min(shares), max(shares), distance_from_uniform(shares)
            wide = least < END and most > 1 - END
            assert wide, f"{name}: {len(values)} first draws lie between {least:.2f} and {most:.2f} of its range"
            assert distance < FARTHEST, f"{name}: {len(values)} first draws are {distance:.2f} from uniform on its own scale"


def _values(parameter: Categorical | Int | Float) -> list[Value] | None:
    """All values of a parameter that has few, else None."""
    match parameter:
        case Categorical():
            return list(parameter.values)
        case Int(step=None):
            few = parameter.high - parameter.low < MANY
            return list(range(parameter.low, parameter.high + 1)) if few else None
        case Float(step=None):
            return None
    return parameter.levels()


def distance_from_uniform(shares: Sequence[float]) -> float:
    """Kolmogorov and Smirnov's: the largest gap between what is found and what is expected below any point of 0 … 1."""
    ordered, number = sorted(shares), len(shares)
    return max(max((place + 1) / number - at, at - place / number) for place, at in enumerate(ordered))


# Seeds


@promise()
def the_same_seed_proposes_the_same_in_another_process(subject: Subject, folder: Path) -> None:
    """Or not, where its label says so: seeds 0 and 3, the paper's and a mixed space."""
    asks, mixed = subject.size.asks, subject.spec.log and subject.spec.step
    orders = [(PAPER_SPACE, 0, asks), (MIXED if mixed else PAPER_SPACE, 3, asks)]
    here = [subject.search(folder, space, Limits(trials=n), seed).proposals for space, seed, n in orders]
    there = proposals_elsewhere(subject, orders, folder)
    same = here == there
    if subject.spec.determinism is Determinism.NO:
        assert not same, "declares that the same seed gives others, and it gave the same: label it as it is"
    else:
        assert same, f"{_difference(here, there)}, with the same seed in two processes"


def _difference(here: list[list[Proposal]], there: list[list[Proposal]]) -> str:
    for one, other in zip(here, there, strict=True):
        for number, (a, b) in enumerate(zip(one, other, strict=False)):
            if a != b:
                return f"proposal {number} is {a} and {b}"
    return f"so many proposals: {[len(x) for x in here]} and {[len(x) for x in there]}"


@promise()
def another_seed_proposes_others(subject: Subject, folder: Path) -> None:
    """Also not the same ones a few trials later, as a framework does that counts on from its seed (methods/keras_tuner.py).

    Six configurations with each seed. Searches that have the same first ones, as those with a fixed start have, keep the promise.
    """
    space = SMOOTH if subject.spec.log and subject.spec.step else PAPER_SPACE
    seeds = range(len(space) + 2)
    found = [[p.config for p in subject.search(folder, space, Limits(trials=6), seed).proposals] for seed in seeds]
    for one, other in combinations(seeds, 2):
        assert found[one] != found[other], f"seeds {one} and {other} propose the same six configurations"
        later = sum(a == b for i, a in enumerate(found[one]) for j, b in enumerate(found[other]) if i != j)
        assert later < ALREADY_SEEN, f"seeds {one} and {other}: {later} configurations of one are in the other, at other places"


# Budgets


@promise()
def an_epoch_budget_is_kept_to_the_epoch(subject: Subject, folder: Path) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(epochs=50))
    trained, (ended,) = len(record.of("epoch")), record.of("ended")
    assert 50 - MAX_EPOCHS < trained <= 50, f"of 50 epochs it used {trained}, and a trial takes at most {MAX_EPOCHS}"
    assert ended["left"]["epochs"] == 50 - trained, f"{trained} of 50 are used, and {ended['left']} is said to be left"


@promise()
def a_trial_budget_is_used_up(subject: Subject, folder: Path) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(trials=5))
    started = sum(proposal.parent is None for proposal in record.proposals)
    assert started == 5, f"of a budget of 5 trials it started {started}: {record.of('ended')}"


@promise()
def done_is_final_and_it_never_waits_for_nothing(subject: Subject, folder: Path) -> None:
    """On a space of six points, told at once: a proposal each time, or Done, and then Done for good."""
    with subject.method(folder, TINY, trials=30) as method:
        flight = _Flight(subject.spec, TINY)
        for _ in range(min(30, 2 * subject.size.asks)):
            answer = method.ask()
            assert not isinstance(answer, Wait), "it waits although nothing is in flight"
            if isinstance(answer, Done):
                again = [method.ask() for _ in range(3)]
                assert again == [answer] * 3, f"after {answer} it answered {again}"
                return
            flight.start(answer)
            flight.land(method, 0)


# Trials that fail


@promise()
def survives_first_trials_that_fail(subject: Subject, folder: Path) -> None:
    _survives(subject, folder, dict.fromkeys((0, 1, 2, 3, 5, 8), Status.FAILED))


@promise()
def survives_first_trials_that_diverge(subject: Subject, folder: Path) -> None:
    _survives(subject, folder, dict.fromkeys((0, 1, 2, 3, 5, 8), Status.DIVERGED))


@promise()
def survives_25_trials_that_all_fail(subject: Subject, folder: Path) -> None:
    """They diverge: the loop itself ends a search of which too many trials in a row cannot be trained at all."""
    _survives(subject, folder, dict.fromkeys(range(1000), Status.DIVERGED), trials=25)


def _survives(subject: Subject, folder: Path, ends: dict[int, Status], trials: int = 13) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(trials=trials), objective=Bowl(PAPER_SPACE, ends))
    told = record.of("told")
    started = sum(proposal.parent is None for proposal in record.proposals)
    assert started == trials, f"of {trials} trials it started {started}: {record.of('ended')}"
    for event in told:
        wanted = ends.get(event["trial"])
        assert wanted is None or event["status"] == wanted, f"trial {event['trial']} is {event['status']}, and should be {wanted}"


# Resuming


@promise(lambda spec: spec.exact_replay)
def a_killed_search_goes_on_as_if_it_had_not_stopped(subject: Subject, folder: Path) -> None:
    """Killed at every event (of slow methods, at a few); none of its trials may be lost, doubled or changed."""
    _killed(subject, folder, 1, subject.size.cuts)


@promise(lambda spec: spec.exact_replay and spec.parallel)
def a_search_killed_with_trials_in_flight_goes_on_as_if_it_had_not_stopped(subject: Subject, folder: Path) -> None:
    """The same with several in flight, which end in another order than they were asked: all of them are trained on."""
    _killed(subject, folder, IN_FLIGHT, max(1, subject.size.cuts // 3))


def _killed(subject: Subject, folder: Path, in_flight: int, cuts: int) -> None:
    ends = {2: Status.FAILED, 6: Status.DIVERGED}
    parts = _short(subject.spec) | {"objective": Bowl(PAPER_SPACE, ends), "in_flight": in_flight}
    whole = subject.search(folder, PAPER_SPACE, **parts)
    lines = whole.lines()
    for kept in _spread(len(lines) - 1, cuts):
        again = subject.search(folder, PAPER_SPACE, **parts, lines=lines[:kept])
        lost, doubled, changed = _compared(whole, again)
        found = f"killed after event {kept} of {len(lines)}: {lost} trials lost, {doubled} doubled, {changed} changed"
        assert (lost, doubled, changed) == (0, 0, 0), found
        assert again.essence == whole.essence, f"killed after event {kept} of {len(lines)}, its events are others"


def _short(spec: MethodSpec) -> dict[str, Any]:
    """A search past a method's start-up points, or through some rungs."""
    if spec.fidelity or spec.stop_rule:
        return {"limits": Limits(epochs=70), "max_epochs": MAX_EPOCHS}
    return {"limits": Limits(trials=13), "max_epochs": 1}


def _spread(last: int, number: int) -> list[int]:
    """At most so many of the places 1 … last, evenly spread, the last among them; of one alone, the middle."""
    if last <= number:
        return list(range(1, last + 1))
    if number == 1:
        return [last // 2]
    return [1 + round(place * (last - 1) / (number - 1)) for place in range(number)]


def _compared(whole: Kept, again: Kept) -> tuple[int, int, int]:
    """Trials lost, doubled and changed."""
    before, after = ({e["trial"]: _told(e) for e in record.of("told")} for record in (whole, again))
    counted = Counter(e["trial"] for e in again.of("told"))
    changed = sum(after[trial] != told for trial, told in before.items() if trial in after)
    return len(before.keys() - after.keys()), sum(n > 1 for n in counted.values()), changed


def _told(event: Any) -> dict[str, Any]:
    return {k: v for k, v in event.items() if k not in ("seq", "time", "attempt", "seconds")}


@promise(lambda spec: spec.warm_start and not spec.warm_start_optional)
def continues_only_trials_whose_weights_are_kept(subject: Subject, folder: Path) -> None:
    """A trial that `resumable` does not name has lost its weights, and is trained again when it is continued all the same."""
    record = subject.search(folder, PAPER_SPACE, Limits(epochs=200), checkpoints=_Weights())
    assert any(proposal.parent is not None for proposal in record.proposals), "in 200 epochs it continued no trial"
    assert not record.of("restored"), f"it continues trials that it had given up: {record.of('restored')[0]}"


class _Weights(NoCheckpoints):
    """Which trials' weights would be there."""

    def __init__(self) -> None:
        self._kept: set[TrialId] = set()

    def fault(self, trial: TrialId) -> str | None:
        return None if trial in self._kept else "is gone"

    def keep(self, trial: Trial) -> None:
        self._kept.add(trial.id)

    def keep_only(self, trials: Set[TrialId]) -> None:
        self._kept &= trials


# Several trials at a time


@promise(lambda spec: spec.parallel)
def may_be_asked_four_times_before_it_is_told_in_another_order(subject: Subject, folder: Path) -> None:
    rng = random.Random(0)
    with subject.method(folder, PAPER_SPACE, trials=subject.size.asks, in_flight=IN_FLIGHT) as method:
        flight = _Flight(subject.spec, PAPER_SPACE)
        most = 0
        while len(flight.proposals) < max(16, subject.size.asks):
            answer = method.ask() if len(flight.open) < IN_FLIGHT else None
            if isinstance(answer, Done):
                break
            if isinstance(answer, Proposal):
                _valid(subject.spec, PAPER_SPACE, answer, flight.proposals)
                told = answer.parent is None or answer.parent not in [t.id for t in flight.open]
                assert told, f"it continues trial {answer.parent}, which is still in flight"
                flight.start(answer)
                most = max(most, len(flight.open))
                continue
            assert flight.open, "it waits although nothing is in flight"
            flight.land(method, rng.randrange(len(flight.open)))
    assert most > 1, "declares parallel asks, and never had more than one trial in flight"


class _Flight:
    """Trials in flight over the bowl, told in any order."""

    def __init__(self, spec: MethodSpec, space: Space) -> None:
        self._spec = spec
        self._bowl = Bowl(space)
        self._trials: dict[int, TrialRecord] = {}
        self.proposals: list[Proposal] = []
        self.open: list[Trial] = []

    def start(self, proposal: Proposal) -> None:
        trial = lineage(len(self.proposals), proposal, self._trials)
        self.proposals.append(proposal)
        self.open.append(trial)
        self._trials[trial.id] = TrialRecord(trial, (), 0.0)

    def land(self, method: TimedMethod, place: int) -> None:
        """Train the trial at this place of those in flight to its end, and tell it."""
        trial = self.open.pop(place)
        curve, status = [], Status.COMPLETED
        for epoch in self._bowl(trial, None):
            curve.append(epoch)
            if (
                epoch.number < trial.proposal.target_epoch
                and self._spec.stop_rule
                and not method.should_continue(trial.id, epoch)
            ):
                status = Status.STOPPED
                break
        outcome = Outcome(status, tuple(curve), min(e.metrics["val_loss"] for e in curve), 0.1)
        ended = Trial(trial.id, trial.config_id, trial.proposal, trial.first_epoch, outcome)
        self._trials[trial.id] = TrialRecord(ended, outcome.curve, 0.0)
        method.tell(ended)


# Whether it searches


@promise(lambda spec: spec.beats_random)
def is_no_worse_than_random_search(subject: Subject, folder: Path) -> None:
    """A one-sided sign test over the seeds, equal budgets of epochs: fails where random search wins too often to be chance."""
    trials, seeds = subject.size.trials, range(subject.size.seeds)
    bowl = Bowl(SMOOTH)
    limits = Limits(epochs=trials * MAX_EPOCHS)
    theirs = [_reached(bowl, subject.search(folder, SMOOTH, limits, seed).proposals) for seed in seeds]
    randoms = [min(bowl.loss(drawn(SMOOTH, rng)) for _ in range(trials)) for rng in map(random.Random, seeds)]
    wins = sum(a < b for a, b in zip(theirs, randoms, strict=True))
    losses = sum(a > b for a, b in zip(theirs, randoms, strict=True))
    chance = at_most(wins, wins + losses)
    assert chance > FALSE_ALARM, (
        f"random search finds the better of two configurations with {losses} of {len(seeds)} seeds, the method with {wins}"
        f" ({trials} full trainings each): by chance that is seen once in {1 / chance:.0f}"
    )


def _reached(bowl: Bowl, proposals: Sequence[Proposal]) -> float:
    """The best configuration among those trained to the end; where there is none, among those trained longest."""
    longest = max(p.target_epoch for p in proposals)
    return min(bowl.loss(p.config) for p in proposals if p.target_epoch == longest)


def at_most(wins: int, games: int) -> float:
    """The chance of so few wins in so many games between equals."""
    return float(sum(math.comb(games, n) for n in range(wins + 1)) / 2**games)
