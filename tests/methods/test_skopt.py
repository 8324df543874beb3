"""scikit-optimize: sequential searches equal skopt's, trials in flight use a constant liar, and skopt's faults are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asked import asked, built, searched, told
from played import played
from tuneoff.contract.toy_objective import Bowl
from tuneoff.core.space import Config, Space

SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "y": {"type": "float", "low": 0.0, "high": 1.0},
    "kind": {"type": "categorical", "values": ["a", "b"]},
}


def bowl(config: Config) -> float:
    return (float(config["x"]) - 0.3) ** 2 + (float(config["y"]) - 0.7) ** 2 + (config["kind"] == "a")


@pytest.mark.parametrize(("name", "estimator"), [("skopt-gp", "GP"), ("skopt-forest", "ET")])
def test_a_sequential_search_proposes_the_same_as_skopt(name: str, estimator: str, tmp_path: Path) -> None:
    from skopt import Optimizer
    from skopt.space import Categorical, Real

    configs = searched(built(name, SPACE, tmp_path, seed=3, n_initial_points=4), 6, bowl)
    dimensions = [Real(0.0, 1.0), Real(0.0, 1.0), Categorical([0, 1])]
    optimizer = Optimizer(
        dimensions,
        estimator,
        n_initial_points=4,
        acq_func="EI",
        acq_func_kwargs={"xi": 0.01, "kappa": 1.96},
        random_state=3,
    )
    for config in configs:
        x, y, kind = optimizer.ask()
        assert config == {"x": x, "y": y, "kind": ["a", "b"][kind]}
        optimizer.tell([x, y, kind], bowl(config))


@pytest.mark.parametrize("settings", [{"base_estimator": "ET"}, {"base_estimator": "RF"}])
def test_a_forest_concentrates_on_good_configurations(settings: dict[str, Any], tmp_path: Path) -> None:
    configs = searched(built("skopt-forest", SPACE, tmp_path, **settings), 20, bowl)
    assert np.mean([bowl(c) for c in configs[10:]]) < 0.7 * np.mean([bowl(c) for c in configs[:10]])


def test_boosted_trees_concentrate_on_good_configurations(tmp_path: Path) -> None:
    configs = searched(built("skopt-gbrt", SPACE, tmp_path), 20, bowl)
    assert np.mean([bowl(c) for c in configs[10:]]) < 0.7 * np.mean([bowl(c) for c in configs[:10]])


def test_skopts_own_boosted_trees_do_not_work_here() -> None:
    """The reason for the fixes. If this test fails, scikit-optimize works again and the fixes can be removed."""
    from skopt import Optimizer

    with pytest.raises(ValueError, match="has to be a regressor"):
        Optimizer([(0.0, 1.0)], "GBRT")


# In flight


def test_a_constant_liar_keeps_trials_in_flight_from_being_proposed_again(tmp_path: Path) -> None:
    method: Any = built("skopt-gp", SPACE, tmp_path, in_flight=3, n_initial_points=4)
    searched(method, 6, bowl)
    proposals = [asked(method) for _ in range(3)]
    assert len({str(p.config) for p in proposals}) == 3
    assert len(method._optimizer.yi) == 6, "only a copy receives the assumed losses"
    told(method, 7, proposals[1], bowl(proposals[1].config))
    assert set(method._open) == {6, 8}


@pytest.mark.parametrize("generator", ["random", "sobol"])
def test_trials_that_fail_before_the_first_loss_do_not_block_the_start(generator: str, tmp_path: Path) -> None:
    """Such trials are never told. Without a fix, skopt would propose the first point of a fixed sequence again and again."""
    method = built("skopt-gp", SPACE, tmp_path, n_initial_points=8, initial_point_generator=generator)
    configs = [asked(method).config for _ in range(4)]
    assert len({str(c) for c in configs}) == 4
    last = asked(method)
    told(method, 4, last, bowl(last.config))
    assert asked(method).config != last.config


def test_bayes_finds_a_better_configuration_than_its_start_up_points(tmp_path: Path) -> None:
    """On a smooth bowl. A random search would improve on its first 10 points with 8 more in about half of the cases."""
    plane = Space.model_validate({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "y")})
    losses = [Bowl(plane).loss(proposal.config) for proposal in played("bayes", plane, tmp_path, trials=18)]
    assert min(losses[10:]) < 0.3 * min(losses[:10])
