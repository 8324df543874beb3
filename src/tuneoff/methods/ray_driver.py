"""Run Ray Tune under Tuneoff's loop: the base classes of all methods of Ray Tune, and their search spaces."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from ..core.encoding import Axes, Axis
from ..core.problem import Problem, Proposal, Trial, TrialId
from .inversion import InvertedCall, Threaded
from .ray_actor import State, Step, StepServer

WORST = float("inf")
"""The loss of a failed trial for schedulers that wait for a whole rung or population."""
LONGEST_FOLDER = 40
"""Maximum length of the path of Ray's folder. A socket's path has at most 107 characters, of which Ray needs 64."""
FAILED = Step(State(), WORST, done=True)
"""The last step of a failed Ray trial, at an epoch that no scheduler compares. After an error, Ray would start a new process."""


class RayDriver(Threaded):
    """Run Ray Tune with one CPU, so that one Ray trial runs at a time.

    Each step of a Ray trial is one of Tuneoff's trials, trained to its target epoch.
    """

    name = "Ray Tune"

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._axes = Axes(problem.space)
        self._start_ray()
        super().__init__(self.name, self._search_with)

    def _start_ray(self) -> None:
        folder = self._problem.folder / "ray"
        folder.mkdir()
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_AIR_NEW_OUTPUT="0",
            RAY_CHDIR_TO_TRIAL_DIR="0",
            TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
            TUNE_GLOBAL_CHECKPOINT_S="1000000",
            TUNE_MAX_PENDING_TRIALS_PG="1",  # draw the next trial only when it can run
        )
        import ray

        ray.init(
            address="local",
            num_cpus=1,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=_short_path(folder),
        )

    def _search_with(self, loop: InvertedCall) -> str:
        import numpy as np

        self._loop = loop
        self._draws = np.random.default_rng(self._problem.seed)
        self._tune_all()
        return f"{self.name} has no new configuration"

    def _tune_all(self) -> None:
        """Run Ray Tune until it has no new configuration."""
        raise NotImplementedError

    def _tune(self, space: dict[str, Any], scheduler: Any = None, search: Any = None, samples: int = -1) -> None:
        from ray import tune
        from ray.tune.search import BasicVariantGenerator

        tune.Tuner(
            StepServer(self._step_or_fail, self._end_of).actor(),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                scheduler=scheduler,
                search_alg=search or BasicVariantGenerator(random_state=self._draws),
                num_samples=samples,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=secrets.token_hex(4),
                storage_path=str(self._problem.folder.absolute() / "results"),
                stop={"epoch": self._problem.max_epochs},
                verbose=0,
            ),
        ).fit()

    def _step_or_fail(self, ray_trial: str, values: dict[str, Any], state: State) -> Step:
        try:
            return self._step(ray_trial, values, state)
        except Exception as error:
            self._loop.fail(error)
            raise

    def _step(self, ray_trial: str, values: dict[str, Any], state: State) -> Step:
        """Train the next step of a Ray trial."""
        trial = self._loop.train(Proposal(self._axes.decode(values), self._target(ray_trial, state), state.trial))
        assert trial.outcome is not None
        return self._result(ray_trial, trial, state)

    def _target(self, ray_trial: str, state: State) -> int:
        """Return the epoch up to which the next step of a Ray trial trains."""
        return self._problem.max_epochs

    def _result(self, ray_trial: str, trial: Trial, state: State) -> Step:
        """Return the result of a step for Ray."""
        assert trial.outcome is not None
        if trial.outcome.loss is None:
            return FAILED
        return Step(State(trial.id, trial.proposal.target_epoch), trial.outcome.loss)

    def _end_of(self, ray_trial: str) -> None:
        """Clean up after a Ray trial that has no more steps."""


class ResumingRayDriver(RayDriver):
    """Run schedulers that pause and resume Ray trials. Training between two pauses is one of Tuneoff's trials."""

    def __init__(self, problem: Problem) -> None:
        self._reached: dict[str, State] = {}
        super().__init__(problem)

    def _result(self, ray_trial: str, trial: Trial, state: State) -> Step:
        """Return the result of a step for Ray.

        A failed step has the worst loss, because other Ray trials wait for it. The next step resumes from the weights before it.
        """
        assert trial.outcome is not None
        loss = trial.outcome.loss
        self._reached[ray_trial] = State(state.trial if loss is None else trial.id, trial.proposal.target_epoch)
        return Step(self._reached[ray_trial], WORST if loss is None else loss)

    def resumable(self) -> set[TrialId]:
        """Return the last trials of the Ray trials that may continue."""
        return {state.trial for state in self._reached.values() if state.trial is not None}


def domains(axes: Axes) -> dict[str, Any]:
    """Return the space for Ray. Categories and steps are encoded by index, and inactive parameters are drawn without effect."""
    return {axis.name: domain(axis) for axis in axes.axes}


def domain(axis: Axis) -> Any:
    """Return Ray's domain of an axis."""
    from ray import tune

    if axis.kind == "choice":
        return tune.choice(axis.places)
    if axis.kind == "int":
        return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
    return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)


def _short_path(folder: Path) -> str:
    """Return a path of the folder that is short enough for Ray's sockets: its own path or a link to it."""
    if len(str(folder.absolute())) <= LONGEST_FOLDER:
        return str(folder.absolute())
    link = Path(tempfile.gettempdir(), f"ray-{secrets.token_hex(4)}")
    link.symlink_to(folder.absolute())
    atexit.register(_remove_link, link)
    return str(link)


def _remove_link(link: Path) -> None:
    import ray

    ray.shutdown()  # before the link is removed, because Ray would create a folder in its place
    link.unlink(missing_ok=True)
