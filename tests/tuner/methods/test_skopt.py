"""What scikit-optimize's methods are known for."""

from __future__ import annotations

from pathlib import Path

from played import played

from tuneoff.components.core.space import Space
from tuneoff.components.tuner.contract.bowl import Bowl


def test_bayes_finds_a_better_configuration_than_its_start_up_points(tmp_path: Path) -> None:
    """On a smooth bowl; for a random search the chance to improve on 10 points with each of 8 more is about 1 in 2."""
    plane = Space.model_validate({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "y")})
    losses = [Bowl(plane).loss(proposal.config) for proposal in played("bayes", plane, tmp_path, trials=18)]
    assert min(losses[10:]) < 0.3 * min(losses[:10])
