"""The contract of a search method: every check runs over every method of the registry, as far as its spec declares it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from toy import Curve, essence, metrics
from tuneoff.components.core.problem import Done, Epoch, Limits, Outcome, Problem, Proposal, Status, Trial
from tuneoff.components.core.record import TrialRecord, Writer, lineage
from tuneoff.components.core.space import PAPER_SPACE, Space
from tuneoff.components.core.storage import FileJournal, whole_lines
from tuneoff.components.core.study import Goal
from tuneoff.components.tuner.budget import Budget
from tuneoff.components.tuner.checkpoints import NoCheckpoints
from tuneoff.components.tuner.host import HostedMethod
from tuneoff.components.tuner.loop import Search
from tuneoff.components.tuner.registry import REGISTRY, find
from tuneoff.components.tuner.spec import MethodSpec

MIXED = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "grid_points": 3},
        "dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
        "units": {"type": "int", "low": 8, "high": 64, "step": 8},
        "width": {"type": "int", "low": 1, "high": 100, "log": True, "grid_points": 2},
        "depth": {"type": "int", "low": 1, "high": 3, "grid_points": 2},
        "flag": {"type": "categorical", "values": [True, False]},
        "kind": {"type": "categorical", "values": ["1", 1, 1.5]},
    }
)
CONDITIONAL = Space.model_validate(
    {
        "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
        "momentum": {"type": "float", "low": 0.1, "high": 0.9, "grid_points": 3, "when": {"optimizer": ["SGD"]}},
        "nesterov": {"type": "categorical", "values": [True, False], "when": {"optimizer": ["SGD"]}},
        "beta": {"type": "int", "low": 1, "high": 4, "step": 1, "when": {"optimizer": ["Adam"]}},
    }
)
SPACES = {"paper": PAPER_SPACE, "mixed": MIXED, "conditional": CONDITIONAL}
ASKS = 13  # three more than skopt's start-up points
MAX_EPOCHS = 9

methods = pytest.mark.parametrize("spec", REGISTRY.values(), ids=REGISTRY)


@contextmanager
def hosted(
    spec: MethodSpec, space: Space, folder: Path, seed: int = 0, settings: dict[str, Any] | None = None
) -> Iterator[HostedMethod]:
    """The method in its own process, as a search has it."""
    folder.mkdir(parents=True)
    method = HostedMethod(spec.name, settings or {}, Problem(space, MAX_EPOCHS, seed, folder), folder / "method.log")
    try:
        yield method
    finally:
        method.close()


def play(method: HostedMethod, asks: int, failing: tuple[int, ...] = ()) -> list[Proposal]:
    """Ask so often, tell each proposal's toy outcome at once; the proposals until the method is done."""
    trials: dict[int, TrialRecord] = {}
    proposals: list[Proposal] = []
    for number in range(asks):
        answer = method.ask()
        if isinstance(answer, Done):
            assert method.ask() == answer, "Done is final"
            return proposals
        assert isinstance(answer, Proposal), "it waits although nothing is in flight"
        proposals.append(answer)
        trial = lineage(number, answer, trials)
        curve = tuple(Epoch(n, metrics(trial, n), 0.1) for n in range(trial.first_epoch + 1, answer.target_epoch + 1))
        failed = number in failing
        loss = None if failed else -max(e.metrics["val_accuracy"] for e in curve)
        outcome = Outcome(
            Status.FAILED if failed else Status.COMPLETED, () if failed else curve, loss, 0.1, "no" if failed else None
        )
        told = Trial(trial.id, trial.config_id, answer, trial.first_epoch, outcome)
        trials[number] = TrialRecord(told, outcome.curve, 0.0)
        if not failed:
            method.tell(told)
    return proposals


@methods
@pytest.mark.parametrize("name", SPACES)
def test_it_proposes_what_the_space_allows_and_the_same_in_another_process(spec: MethodSpec, name: str, tmp_path: Path) -> None:
    space = SPACES[name]
    if space.conditional and not spec.conditional:
        pytest.skip("declares that it knows no conditional spaces")
    with hosted(spec, space, tmp_path / "one") as method:
        first = play(method, ASKS)
    with hosted(spec, space, tmp_path / "two") as method:
        assert play(method, ASKS) == first
    assert len(first) > 5
    for place, proposal in enumerate(first):
        check(space, spec, proposal, first[:place])


def check(space: Space, spec: MethodSpec, proposal: Proposal, earlier: list[Proposal]) -> None:
    config = dict(proposal.config)
    assert space.activate(config) == config, "inactive parameters are removed, values are on their steps"
    assert all(space[name].contains(value) for name, value in config.items()), config
    assert json.loads(json.dumps(config)) == config, "plain values only"
    assert [type(v) for v in json.loads(json.dumps(config)).values()] == [type(v) for v in config.values()]
    assert 1 <= proposal.target_epoch <= MAX_EPOCHS
    if not spec.fidelity:
        assert proposal.target_epoch == MAX_EPOCHS
    if proposal.parent is not None:
        assert spec.warm_start
        parent = earlier[proposal.parent]
        assert parent.config == proposal.config, "a continued trial keeps its configuration"
        assert parent.target_epoch < proposal.target_epoch


@methods
def test_another_seed_searches_elsewhere(spec: MethodSpec, tmp_path: Path) -> None:
    settings = {"order": "shuffled"} if spec.name == "sklearn-grid" else {}
    with hosted(spec, PAPER_SPACE, tmp_path / "one", 1, settings) as method:
        first = play(method, 5)
    with hosted(spec, PAPER_SPACE, tmp_path / "two", 2, settings) as method:
        assert play(method, 5) != first


@methods
def test_it_survives_trials_that_fail(spec: MethodSpec, tmp_path: Path) -> None:
    events = search(spec, tmp_path, failing=(0, 1, 2, 3, 5, 8), limits=Limits(trials=ASKS))
    told = [e for e in events if e["event"] == "told"]
    assert [e["trial"] for e in told if e["status"] == "failed"] == [0, 1, 2, 3, 5, 8]
    assert [e["status"] for e in told[9:]].count("completed") == len(told) - 9


@methods
def test_an_epoch_budget_is_kept_to_the_epoch(spec: MethodSpec, tmp_path: Path) -> None:
    events = search(spec, tmp_path, limits=Limits(epochs=50))
    trained = sum(e["event"] == "epoch" for e in events)
    assert 50 - MAX_EPOCHS < trained <= 50
    assert next(e for e in events if e["event"] == "ended")["left"]["epochs"] == 50 - trained


@methods
def test_a_killed_search_goes_on_as_if_it_had_not_stopped(spec: MethodSpec, tmp_path: Path) -> None:
    whole = search(spec, tmp_path / "whole", limits=Limits(epochs=60), failing=(2,))
    lines = whole_lines((tmp_path / "whole" / "log").read_bytes())[0]
    for kept in (1, len(lines) // 3, len(lines) // 2, len(lines) - 1):
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / "log").write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
        assert essence(search(spec, folder, limits=Limits(epochs=60), failing=(2,))) == essence(whole)


def search(spec: MethodSpec, folder: Path, limits: Limits, failing: tuple[int, ...] = ()) -> list[Any]:
    """A search of the paper's space with the toy objective, resumed where the folder holds its record."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Writer(FileJournal(folder / "log"))
    record.open()
    with hosted(spec, PAPER_SPACE, folder / "method") as method:
        Search(spec, method, Curve(failing=failing), record, Budget(limits), Goal(), NoCheckpoints()).run()
    record.close()
    return list(record.events)


@methods
def test_its_registry_line_is_whole(spec: MethodSpec) -> None:
    assert spec.summary.endswith(".")
    assert spec.source
    assert spec.installed
    assert spec.version, "named by its distribution"
    assert spec.settings_model()(), "every setting has a default"


def test_the_registry_and_the_settings_import_no_framework() -> None:
    code = (
        "import sys; from tuneoff.components.tuner.registry import REGISTRY\n"
        "[s.settings_model() for s in REGISTRY.values()]\n"
        "print([m for m in ('keras', 'tensorflow', 'sklearn', 'skopt', 'keras_tuner') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_method_file_knows_one_framework() -> None:
    import tuneoff.components.tuner.methods as package

    frameworks = {"keras_tuner", "sklearn", "skopt"}
    for file in Path(package.__path__[0]).glob("*.py"):
        tree = ast.parse(file.read_text())
        named = {n.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
        named |= {(n.module or "").partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 0}
        assert len(named & frameworks) <= 1, file.name


# What a method is known for


def test_grid_in_scikit_learns_order_is_parameter_grid(tmp_path: Path) -> None:
    from sklearn.model_selection import ParameterGrid

    with hosted(find("grid"), PAPER_SPACE, tmp_path / "grid") as method:
        proposals = play(method, 30)
    expected = list(ParameterGrid(PAPER_SPACE.grid_levels()))[:30]
    assert [dict(p.config) for p in proposals] == [{name: e[name] for name in PAPER_SPACE} for e in expected]


def test_a_shuffled_grid_visits_every_point_once(tmp_path: Path) -> None:
    with hosted(find("grid"), CONDITIONAL, tmp_path / "grid", settings={"order": "shuffled"}) as method:
        proposals = play(method, 100)
    assert len(proposals) == 3 * 2 + 4, "combinations that differ in inactive parameters alone are one point"
    assert len({json.dumps(dict(p.config)) for p in proposals}) == len(proposals)


def test_hyperband_asks_kerastuners_brackets(tmp_path: Path) -> None:
    """The table of brackets at max_epochs 10 and factor 3: 12, 4, 2 trials of 2, 2, 6 new epochs; 6, 2 of 4, 6; 4 of 10."""
    spec = find("hyperband")
    folder = tmp_path / "hyperband"
    folder.mkdir()
    method = HostedMethod(spec.name, {"hyperband_iterations": 1}, Problem(PAPER_SPACE, 10, 0, folder), folder / "log")
    try:
        proposals = play(method, 100)
    finally:
        method.close()
    rungs = [(p.target_epoch, 0 if p.parent is None else proposals[p.parent].target_epoch) for p in proposals]
    assert rungs == [(2, 0)] * 12 + [(4, 2)] * 4 + [(10, 4)] * 2 + [(4, 0)] * 6 + [(10, 4)] * 2 + [(10, 0)] * 4
    assert sum(target - first for target, first in rungs) == 120


def test_random_draws_without_repeats_until_the_space_is_used_up(tmp_path: Path) -> None:
    tiny = Space.model_validate({"a": {"type": "categorical", "values": [1, 2, 3]}, "b": {"type": "int", "low": 1, "high": 2}})
    with hosted(find("random"), tiny, tmp_path / "random") as method:
        proposals = play(method, 50)
    configs = [json.dumps(dict(p.config)) for p in proposals]
    assert len(set(configs)) == len(configs) <= 6


def test_bayes_finds_a_better_configuration_than_its_start_up_points(tmp_path: Path) -> None:
    """On a smooth bowl; for a random search the chance to improve on 10 points with each of 8 more is about 1 in 2."""
    space = Space.model_validate(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}}
    )
    with hosted(find("bayes"), space, tmp_path / "bayes") as method:
        losses = []
        for number in range(18):
            answer = method.ask()
            assert isinstance(answer, Proposal)
            losses.append((float(answer.config["x"]) - 0.3) ** 2 + (float(answer.config["y"]) - 0.7) ** 2)
            outcome = Outcome(Status.COMPLETED, (), losses[-1], 0.1)
            method.tell(Trial(number, number, answer, 0, outcome))
    assert min(losses[10:]) < 0.3 * min(losses[:10])
