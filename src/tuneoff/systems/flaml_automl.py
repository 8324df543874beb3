"""FLAML's AutoML: trees, boosting and logistic regression on flattened images, by FLAML's own search."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..core.prepared_data import Prepared, load_part
from ..core.runtime.extras import importable
from ..core.space import Model
from ..core.study import Study
from ..methods.spec import MethodSpec
from .protocol import Probabilities, SystemTrial, Work, plain_config, scored, scores, whole_columns

LEARNERS = {"lgbm": "lightgbm", "xgboost": "xgboost", "xgb_limitdepth": "xgboost", "catboost": "catboost"}
"""FLAML's learners that need an extra package. The others are scikit-learn's."""
ALWAYS = ("rf", "extra_tree", "kneighbor", "lrl1")
LOOK_SECONDS = 0.1

Learner = Literal["lgbm", "xgboost", "xgb_limitdepth", "catboost", "rf", "extra_tree", "kneighbor", "lrl1"]


class FlamlSettings(Model):
    """FLAML's arguments of these names. By default FLAML retrains after its time is up; here it may retrain only within it."""

    estimator_list: list[Learner] | None = Field(
        default=None,
        min_length=1,
        description="By default lgbm, xgboost, xgb_limitdepth and catboost, as installed, rf, extra_tree.",
    )
    retrain_full: Literal["budget", False] = Field(
        default="budget", description="Whether the best is trained anew on training and validation images, where time is left."
    )


def check(study: Study, settings: FlamlSettings) -> list[str]:
    """Refuse learners that are not installed."""
    lacking = {name: LEARNERS[name] for name in settings.estimator_list or [] if not importable(LEARNERS.get(name, "sklearn"))}
    return [f"flaml's learner {name} needs the package {package}, which is not installed." for name, package in lacking.items()]


def _default_learners() -> list[str]:
    return [name for name, package in LEARNERS.items() if importable(package)] + ["rf", "extra_tree"]


class Flaml:
    """One fit of flaml.AutoML in a thread. Its log of trials is read while it grows."""

    Settings = FlamlSettings
    spec = MethodSpec(
        name="flaml",
        summary="Trains models of its own: boosted trees and forests on flattened images, by FLAML's AutoML.",
        source="Wang, Wu, Weimer and Zhu, FLAML: a fast and lightweight AutoML library, MLSys 2021",
        when="To see what a general AutoML library reaches in the same seconds without any network.",
        framework="flaml",
        package="flaml",
        extra="flaml",
        kind="system",
    )
    check = staticmethod(check)

    def __init__(self, settings: FlamlSettings) -> None:
        self._settings = settings
        self._metrics: list[dict[str, float]] = []
        self._failure: BaseException | None = None

    def run(self, work: Work) -> Iterator[SystemTrial]:
        import flaml

        logging.getLogger("flaml").setLevel(logging.WARNING)
        log = work.folder / "trials.log"
        self._automl = flaml.AutoML()
        fit = Thread(target=self._fit, args=(work, log))
        fit.start()
        seen, alive = 0, True
        while alive:
            fit.join(LOOK_SECONDS)
            alive = fit.is_alive()
            lines = _whole_lines(log)
            for entry in lines[seen:]:
                yield self._trial(entry)
            seen = len(lines)
        if self._failure is not None:
            raise self._failure

    def _fit(self, work: Work, log: Path) -> None:
        classes = len(Prepared.read(work.data).classes)
        (x, y), (x_validation, y_validation) = (_flat(work.data, part) for part in ("train", "validation"))
        place = 0 if work.goal.metric == "val_accuracy" else 1

        def metric(
            x_val: Any, y_val: Any, estimator: Any, labels: Any, *rest: Any, **named: Any
        ) -> tuple[float, dict[str, float]]:
            found = scores(whole_columns(estimator.predict_proba(x_val), estimator.classes_, classes), y_val)
            self._metrics.append({"val_accuracy": found[0], "val_loss": found[1]})
            return (1 - found[0], found[1])[place], {}

        try:
            self._automl.fit(
                x,
                y,
                X_val=x_validation,
                y_val=y_validation,
                task="classification",
                metric=metric,
                time_budget=work.seconds,
                estimator_list=self._settings.estimator_list or _default_learners(),
                eval_method="holdout",
                retrain_full=self._settings.retrain_full,
                n_jobs=work.threads,
                seed=work.seed,
                log_file_name=str(log),
                log_type="all",
                model_history=False,
                skip_transform=True,
                auto_augment=False,
                early_stop=False,
                mlflow_logging=False,
                verbose=1,
            )
        except BaseException as error:  # noqa: BLE001 - raised again where the trials are read
            self._failure = error

    def _trial(self, entry: dict[str, Any]) -> SystemTrial:
        number, seconds = int(entry["record_id"]), float(entry["trial_time"])
        config = {"learner": entry["learner"], "images": entry["sample_size"], **entry["config"]}
        return SystemTrial(plain_config(config), scored(self._metrics[number], seconds), seconds)

    def save(self, trial: int, folder: Path) -> None:
        """Save FLAML's best model. It is the model of this trial: the first with the smallest value of the same metric."""
        (folder / "model.pickle").write_bytes(pickle.dumps(self._automl.model))

    @staticmethod
    def predict(folder: Path, images: Any) -> Probabilities:
        model = pickle.loads((folder / "model.pickle").read_bytes())
        found = model.predict_proba(np.asarray(images).reshape(len(images), -1))
        return whole_columns(found, model.classes_, int(max(model.classes_)) + 1)


def _flat(data: Path, part: Any) -> tuple[Any, Any]:
    x, y = load_part(data, part)
    return np.asarray(x).reshape(len(x), -1), np.asarray(y)


def _whole_lines(log: Path) -> list[dict[str, Any]]:
    """Read the trials in FLAML's log. Its last line repeats the best one."""
    if not log.is_file():
        return []
    text = log.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [entry for entry in entries if "trial_time" in entry]
