"""The checks of the method contract, one function per promise. A broken promise raises AssertionError with a description.

The objective is a toy function (toy_objective.py), so a check takes only the time of the method itself. Seeds are fixed, so a
check that passes once passes again. False-alarm rates hold for methods that keep the promise, over all seeds that might have been
chosen.
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
"""Probability that a method exactly as good as random search is called worse."""
FARTHEST = 0.4
"""Maximum Kolmogorov-Smirnov distance of first draws from the uniform distribution. First draws do not have to be random.

A linear range that is drawn as logarithmic, or the reverse, has a distance above 0.6 over the three decades of MIXED's ranges,
and half a range has 0.5. Normally distributed first generations around the middle have 0.2 to 0.33. A model that proposes after
the first trial has 0.23. The false-alarm rate of 200 uniform draws is below 1e-27 per range.
"""
END = 0.2
"""Maximum distance of the nearest first draw from both ends of a range, as a share of the range.

The false-alarm rate of 200 uniform draws is 4e-20.
"""
MANY = 10
"""Maximum number of values for which first draws are checked value by value. Larger ranges are checked by distance."""
ALREADY_SEEN = 3
"""Number of equal configurations, among the six of each of two seeds, that is a failure if their positions differ.

On ranges without steps, this does not happen by chance.
"""
IN_FLIGHT = 4

Run = Callable[[Subject, Path], None]


@dataclass(frozen=True)
class Check:
    """A check of one promise, and the condition under which it applies to a method."""

    name: str
    run: Run
    applies: Callable[[MethodSpec], bool]


CHECKS: dict[str, Check] = {}


def promise(applies: Callable[[MethodSpec], bool] = lambda spec: True) -> Callable[[Run], Run]:
    """Return a decorator that adds a function to CHECKS under its name."""

    def add(function: Run) -> Run:
        CHECKS[function.__name__] = Check(function.__name__, function, applies)
        return function

    return add


def checks_of(spec: MethodSpec) -> list[Check]:
    """Return the checks that apply to a method by its spec. None apply to a system, which trains its own models."""
    if spec.kind == "system":
        return []
    return [check for check in CHECKS.values() if check.applies(spec)]


# Proposals


@promise()
def proposes_valid_configurations_in_the_papers_space(subject: Subject, folder: Path) -> None:
    _check_proposals(subject, folder, PAPER_SPACE)


@promise(lambda spec: spec.log and spec.step)
def proposes_valid_configurations_in_a_mixed_space(subject: Subject, folder: Path) -> None:
    _check_proposals(subject, folder, MIXED)


@promise(lambda spec: spec.conditional)
def proposes_only_active_parameters(subject: Subject, folder: Path) -> None:
    _check_proposals(subject, folder, CONDITIONAL)


@promise(lambda spec: not spec.conditional)
def refuses_a_conditional_space(subject: Subject, folder: Path) -> None:
    _check_refusal(subject, CONDITIONAL)


@promise(lambda spec: not (spec.log and spec.step))
def refuses_ranges_that_it_does_not_support(subject: Subject, folder: Path) -> None:
    _check_refusal(subject, MIXED)


def _check_refusal(subject: Subject, space: Space) -> None:
    study = Study.model_validate(
        {"name": "check", "datasets": ["mnist"], "methods": ["grid"], "budget": {"trials": 9, "epochs_per_trial": MAX_EPOCHS}}
    ).model_copy(update={"space": space})
    settings = subject.spec.settings_model().model_validate(dict(subject.settings))
    assert subject.spec.refusals(study, settings), "it does not refuse a space that its spec does not support"


def _check_proposals(subject: Subject, folder: Path, space: Space) -> None:
    proposals = subject.search(folder, space, Limits(trials=subject.size.asks)).proposals
    assert proposals, "it made no proposal"
    for number, proposal in enumerate(proposals):
        _check_proposal(subject.spec, space, proposal, proposals[:number])


def _check_proposal(spec: MethodSpec, space: Space, proposal: Proposal, earlier: Sequence[Proposal]) -> None:
    config = dict(proposal.config)
    assert space.activate(config) == config, f"the proposal has inactive parameters or values between steps: {config}"
    assert all(space[name].contains(value) for name, value in config.items()), f"the proposal is outside of the space: {config}"
    decoded = json.loads(json.dumps(config))
    plain = [(type(v), v) for v in decoded.values()] == [(type(v), v) for v in config.values()]
    assert plain, f"the values are not plain Python objects: {config}"
    assert 1 <= proposal.target_epoch <= MAX_EPOCHS, f"target_epoch is {proposal.target_epoch}, not from 1 to {MAX_EPOCHS}"
    assert spec.fidelity or proposal.target_epoch == MAX_EPOCHS, (
        f"the spec does not declare fidelity, but the proposal asks for {proposal.target_epoch} of {MAX_EPOCHS} epochs"
    )
    if proposal.parent is not None:
        parent = earlier[proposal.parent]
        assert spec.warm_start or spec.fidelity, (
            "the spec declares neither warm_start nor fidelity, but the proposal has a parent"
        )
        assert parent.target_epoch < proposal.target_epoch, "the target_epoch is not larger than that of the parent"


@promise(lambda spec: spec.log and spec.step)
def first_draws_cover_the_whole_space(subject: Subject, folder: Path) -> None:
    """No parameter, bound, level or scale is lost between the space and the framework.

    Looks at the first proposals of many seeds, 1000 in all, or 200 of a slow method. They must include every value of a parameter
    with few values, and cover the whole scale of a range. The rarest value of MIXED has probability 1/8. It is missing among 200
    random draws once in 4e11.
    """
    _check_coverage(MIXED, subject, folder, subject.size.seeds_drawn)


@promise()
def first_draws_cover_a_space_of_lists(subject: Subject, folder: Path) -> None:
    """The same for a space without ranges. The rarest value has probability 1/3: missing among 48 random draws once in 3e8."""
    _check_coverage(LISTS, subject, folder, subject.size.seeds_drawn // 4)


def _check_coverage(space: Space, subject: Subject, folder: Path, seeds: int) -> None:
    configs = [
        proposal.config
        for seed in range(seeds)
        for proposal in subject.search(folder, space, Limits(trials=subject.size.draws), seed).proposals
        if proposal.parent is None
    ]
    for name, parameter in space.items():
        values = [config[name] for config in configs]
        few = _few_values(parameter)
        if few is not None:
            counts = Counter(map(repr, values))
            missing = [value for value in few if repr(value) not in counts]
            assert not missing, f"{name} is never {missing} in {len(values)} first draws: {dict(counts)}"
        else:
            shares = [share(parameter, value) for value in values]
            low, high, distance = min(shares), max(shares), distance_from_uniform(shares)
            wide = low < END and high > 1 - END
            assert wide, (
                f"{name}: {len(values)} first draws cover only {low:.2f} to {high:.2f} of its range, on its scale from 0 to 1"
            )
            assert distance < FARTHEST, (
                f"{name}: {len(values)} first draws differ from a uniform distribution on its scale by {distance:.2f}, more than"
                f" {FARTHEST}"
            )


def _few_values(parameter: Categorical | Int | Float) -> list[Value] | None:
    """Return all values of a parameter, or None if it has many."""
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
    """Return the Kolmogorov-Smirnov distance of values in [0, 1] from the uniform distribution."""
    ordered, number = sorted(shares), len(shares)
    return max(max((place + 1) / number - at, at - place / number) for place, at in enumerate(ordered))


# Seeds


@promise()
def same_seed_gives_same_proposals_in_another_process(subject: Subject, folder: Path) -> None:
    """Or does not, if the spec says so. Checks seeds 0 and 3, with the paper's space and a mixed space."""
    asks, mixed = subject.size.asks, subject.spec.log and subject.spec.step
    orders = [(PAPER_SPACE, 0, asks), (MIXED if mixed else PAPER_SPACE, 3, asks)]
    here = [subject.search(folder, space, Limits(trials=n), seed).proposals for space, seed, n in orders]
    there = proposals_elsewhere(subject, orders, folder)
    same = here == there
    if subject.spec.determinism is Determinism.NO:
        assert not same, "the spec declares determinism NO, but the same seed gave the same proposals: declare EXACT"
    else:
        assert same, f"the same seed gives different proposals in two processes: {_difference(here, there)}"


def _difference(here: list[list[Proposal]], there: list[list[Proposal]]) -> str:
    for ours, theirs in zip(here, there, strict=True):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=False)):
            if a != b:
                return f"proposal {number} is {a} and {b}"
    return f"the numbers of proposals are {[len(x) for x in here]} and {[len(x) for x in there]}"


@promise()
def different_seeds_give_different_proposals(subject: Subject, folder: Path) -> None:
    """Compares six configurations of each seed. Equal first configurations are allowed, because some searches have a fixed start.

    The configurations may also not be the same a few trials later. This happens in a framework that increments its seed for each
    draw (methods/keras_tuner.py).
    """
    space = SMOOTH if subject.spec.log and subject.spec.step else PAPER_SPACE
    seeds = range(len(space) + 2)
    configs = [[p.config for p in subject.search(folder, space, Limits(trials=6), seed).proposals] for seed in seeds]
    for first, second in combinations(seeds, 2):
        assert configs[first] != configs[second], f"seeds {first} and {second} propose the same six configurations"
        shifted = sum(a == b for i, a in enumerate(configs[first]) for j, b in enumerate(configs[second]) if i != j)
        assert shifted < ALREADY_SEEN, f"seeds {first} and {second} share {shifted} configurations at different positions"


# Budgets


@promise()
def keeps_an_epoch_budget_to_the_epoch(subject: Subject, folder: Path) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(epochs=50))
    trained, (ended,) = len(record.of("epoch")), record.of("ended")
    assert 50 - MAX_EPOCHS < trained <= 50, f"it used {trained} of 50 epochs, although a trial takes at most {MAX_EPOCHS}"
    assert ended["left"]["epochs"] == 50 - trained, f"it used {trained} of 50 epochs, but the record has {ended['left']} left"


@promise()
def uses_up_a_trial_budget(subject: Subject, folder: Path) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(trials=5))
    started = sum(proposal.parent is None for proposal in record.proposals)
    assert started == 5, f"it started {started} trials with a budget of 5: {record.of('ended')}"


@promise()
def done_is_final_and_wait_needs_a_trial_in_flight(subject: Subject, folder: Path) -> None:
    """On a space of six points, without trials in flight: each answer is a proposal or Done, and Done does not change."""
    with subject.method(folder, TINY, trials=30) as method:
        flight = _Flight(subject.spec, TINY)
        for _ in range(min(30, 2 * subject.size.asks)):
            answer = method.ask()
            assert not isinstance(answer, Wait), "it answers Wait although no trial is in flight"
            if isinstance(answer, Done):
                again = [method.ask() for _ in range(3)]
                assert again == [answer] * 3, f"it answers {again} after {answer}"
                return
            flight.start(answer)
            flight.end(method, 0)


# Failed trials


@promise()
def survives_first_trials_that_fail(subject: Subject, folder: Path) -> None:
    _survives(subject, folder, dict.fromkeys((0, 1, 2, 3, 5, 8), Status.FAILED))


@promise()
def survives_first_trials_that_diverge(subject: Subject, folder: Path) -> None:
    _survives(subject, folder, dict.fromkeys((0, 1, 2, 3, 5, 8), Status.DIVERGED))


@promise()
def survives_25_trials_that_all_fail(subject: Subject, folder: Path) -> None:
    """The trials diverge, because the loop itself ends a search after too many failed trials in a row."""
    _survives(subject, folder, dict.fromkeys(range(1000), Status.DIVERGED), trials=25)


def _survives(subject: Subject, folder: Path, ends: dict[int, Status], trials: int = 13) -> None:
    record = subject.search(folder, PAPER_SPACE, Limits(trials=trials), objective=Bowl(PAPER_SPACE, ends))
    started = sum(proposal.parent is None for proposal in record.proposals)
    assert started == trials, f"it started {started} of {trials} trials: {record.of('ended')}"
    for event in record.of("told"):
        expected = ends.get(event["trial"])
        is_expected = expected is None or event["status"] == expected
        assert is_expected, f"trial {event['trial']} has the status {event['status']}, not {expected}"


# Resuming


@promise(lambda spec: spec.exact_replay)
def a_killed_search_resumes_as_if_it_had_not_stopped(subject: Subject, folder: Path) -> None:
    """Kills the search at every event, or at some events of slow methods. No trial may be lost, repeated or changed."""
    _check_resume(subject, folder, 1, subject.size.cuts)


@promise(lambda spec: spec.exact_replay and spec.parallel)
def a_search_killed_with_trials_in_flight_resumes_as_if_it_had_not_stopped(subject: Subject, folder: Path) -> None:
    """The same with several trials in flight, which end in another order than they started. All of them must resume."""
    _check_resume(subject, folder, IN_FLIGHT, max(1, subject.size.cuts // 3))


def _check_resume(subject: Subject, folder: Path, in_flight: int, cuts: int) -> None:
    ends = {2: Status.FAILED, 6: Status.DIVERGED}
    parts = _short(subject.spec) | {"objective": Bowl(PAPER_SPACE, ends), "in_flight": in_flight}
    whole = subject.search(folder, PAPER_SPACE, **parts)
    lines = whole.lines()
    for kept in _spread(len(lines) - 1, cuts):
        again = subject.search(folder, PAPER_SPACE, **parts, lines=lines[:kept])
        lost, repeated, changed = _differences(whole, again)
        killed = f"killed after event {kept} of {len(lines)}"
        assert (lost, repeated, changed) == (0, 0, 0), f"{killed}: {lost} trials lost, {repeated} repeated, {changed} changed"
        assert again.essence == whole.essence, f"{killed}: the events differ from those of the undisturbed search"


def _short(spec: MethodSpec) -> dict[str, Any]:
    """Return the limits of a search that is just long enough to leave the start-up points, or to reach some rungs."""
    if spec.fidelity or spec.stop_rule:
        return {"limits": Limits(epochs=70), "max_epochs": MAX_EPOCHS}
    return {"limits": Limits(trials=13), "max_epochs": 1}


def _spread(last: int, number: int) -> list[int]:
    """Return at most `number` evenly spread integers from 1 to `last`, including `last`. A single one is in the middle."""
    if last <= number:
        return list(range(1, last + 1))
    if number == 1:
        return [last // 2]
    return [1 + round(index * (last - 1) / (number - 1)) for index in range(number)]


def _differences(whole: Kept, again: Kept) -> tuple[int, int, int]:
    """Return the numbers of lost, repeated and changed trials."""
    before, after = ({e["trial"]: _comparable(e) for e in record.of("told")} for record in (whole, again))
    counts = Counter(e["trial"] for e in again.of("told"))
    changed = sum(after[trial] != told for trial, told in before.items() if trial in after)
    return len(before.keys() - after.keys()), sum(n > 1 for n in counts.values()), changed


def _comparable(event: Any) -> dict[str, Any]:
    """Return an event without the fields that change when a search resumes."""
    return {k: v for k, v in event.items() if k not in ("seq", "time", "attempt", "seconds")}


@promise(lambda spec: spec.warm_start and not spec.warm_start_optional)
def resumes_only_trials_whose_weights_are_kept(subject: Subject, folder: Path) -> None:
    """The weights of trials that `resumable` does not name are deleted. Resuming such a trial would train it again."""
    record = subject.search(folder, PAPER_SPACE, Limits(epochs=200), checkpoints=_KeptTrials())
    assert any(proposal.parent is not None for proposal in record.proposals), "it resumed no trial in 200 epochs"
    assert not record.of("restored"), f"it resumes trials that resumable() did not name: {record.of('restored')[0]}"


class _KeptTrials(NoCheckpoints):
    """The ids of the trials whose weights would be kept."""

    def __init__(self) -> None:
        self._kept: set[TrialId] = set()

    def fault(self, trial: TrialId) -> str | None:
        return None if trial in self._kept else "is gone"

    def keep(self, trial: Trial) -> None:
        self._kept.add(trial.id)

    def keep_only(self, trials: Set[TrialId]) -> None:
        self._kept &= trials


# Trials in flight


@promise(lambda spec: spec.parallel)
def handles_four_trials_in_flight_that_end_in_any_order(subject: Subject, folder: Path) -> None:
    rng = random.Random(0)
    with subject.method(folder, PAPER_SPACE, trials=subject.size.asks, in_flight=IN_FLIGHT) as method:
        flight = _Flight(subject.spec, PAPER_SPACE)
        most = 0
        while len(flight.proposals) < max(16, subject.size.asks):
            answer = method.ask() if len(flight.open) < IN_FLIGHT else None
            if isinstance(answer, Done):
                break
            if isinstance(answer, Proposal):
                _check_proposal(subject.spec, PAPER_SPACE, answer, flight.proposals)
                ended = answer.parent is None or answer.parent not in [t.id for t in flight.open]
                assert ended, f"it resumes trial {answer.parent}, which is still in flight"
                flight.start(answer)
                most = max(most, len(flight.open))
                continue
            assert flight.open, "it answers Wait although no trial is in flight"
            flight.end(method, rng.randrange(len(flight.open)))
    assert most > 1, "the spec declares parallel, but the method never had more than one trial in flight"


class _Flight:
    """Trials in flight on the toy objective, which can be told in any order."""

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

    def end(self, method: TimedMethod, index: int) -> None:
        """Train the trial at this index of `open` to its end, and tell it."""
        trial = self.open.pop(index)
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


# Search quality


@promise(lambda spec: spec.beats_random)
def is_no_worse_than_random_search(subject: Subject, folder: Path) -> None:
    """One-sided sign test over the seeds, with equal budgets of epochs. Fails if random search wins significantly often."""
    trials, seeds = subject.size.trials, range(subject.size.seeds)
    bowl = Bowl(SMOOTH)
    limits = Limits(epochs=trials * MAX_EPOCHS)
    reached = [_best_loss(bowl, subject.search(folder, SMOOTH, limits, seed).proposals) for seed in seeds]
    by_chance = [min(bowl.loss(drawn(SMOOTH, rng)) for _ in range(trials)) for rng in map(random.Random, seeds)]
    wins = sum(a < b for a, b in zip(reached, by_chance, strict=True))
    losses = sum(a > b for a, b in zip(reached, by_chance, strict=True))
    p = at_most(wins, wins + losses)
    assert p > FALSE_ALARM, (
        f"random search found the better configuration with {losses} of {len(seeds)} seeds, and the method with {wins}"
        f" ({trials} full trainings each). By chance, this happens once in {1 / p:.0f} cases"
    )


def _best_loss(bowl: Bowl, proposals: Sequence[Proposal]) -> float:
    """Return the loss of the best configuration among those that trained longest."""
    longest = max(p.target_epoch for p in proposals)
    return min(bowl.loss(p.config) for p in proposals if p.target_epoch == longest)


def at_most(wins: int, games: int) -> float:
    """Return the probability of at most `wins` wins in `games` games between equal players."""
    return float(sum(math.comb(games, n) for n in range(wins + 1)) / 2**games)
