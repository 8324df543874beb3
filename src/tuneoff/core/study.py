"""A study as validated data: the content of the study file, as every step receives it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from .cluster_settings import Cluster
from .cluster_settings import Step as Step
from .metrics import direction_of
from .problem import Epoch, Limits
from .space import PAPER_SPACE, Model, Space

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$")]
"""Names that become folders, tags and KFP labels: lower-case letters and digits, with _ . - inside; at most 40 characters."""
Positive = Annotated[int, Field(ge=1)]


def _name_of(path: str) -> str:
    stem = path.rsplit("/", 1)[-1].removesuffix(".npz").lower()
    return re.sub(r"[^a-z0-9_.-]+", "-", stem).strip("_.-")[:40].rstrip("_.-") or "data"


class Subset(Model):
    """The number of images to keep of each part. They are drawn with the split's seed and stratified by class."""

    train: Annotated[int, Field(ge=10)] | None = None
    validation: Annotated[int, Field(ge=10)] | None = None
    test: Annotated[int, Field(ge=10)] | None = None


class Dataset(Model):
    """A built-in data set by name, or a user's .npz file by path or s3:// URI."""

    name: Name
    path: str | None = Field(
        default=None, description="The path or s3:// URI of an .npz file. Leave it out for a built-in data set."
    )
    subset: Subset = Subset()
    image_size: Annotated[int, Field(ge=4, le=512)] | None = Field(
        default=None, description="Resize images to this number of pixels per side."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """Accept `mnist`, `data/mine.npz` and `s3://bucket/mine.npz` for the whole entry."""
        if isinstance(data, str):
            data = {"path": data} if data.endswith(".npz") or "/" in data else {"name": data}
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("path"), str):
            return {**data, "name": _name_of(data["path"])}
        return data


class Split(Model):
    """How the training images are split for model selection. Test images never take part in it."""

    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="The share of the training images held out for validation (0.2 of MNIST's 60 000 is 12 000)."
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15,
        description="The share of all images held out for the test if the data set has no test part.",
    )
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None, description="k-fold cross-validation: a trial trains k models and reports the mean metrics."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def _label_of(method: str) -> str:
    """Return the default label: the name, or for module:Class the class name in lower case with hyphens."""
    class_name = method.partition(":")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower().strip("_")[:40] if class_name else method


class MethodChoice(Model):
    """A method, its settings, and the label that tables and folders use for it."""

    name: str
    label: Name
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """Accept `random` for the whole entry. The default label is the name."""
        if isinstance(data, str):
            data = {"name": data}
        if isinstance(data, dict) and "label" not in data and isinstance(data.get("name"), str):
            return {**data, "label": _label_of(data["name"])}
        return data

    @property
    def collected(self) -> bool:
        """Return whether Katib ran the search and only its record was collected. Such a method is never run here."""
        return self.name.startswith(COLLECTED)


COLLECTED = "katib-"
"""The prefix of the names of methods that Katib ran. A study file cannot use it."""


class Budget(Model):
    """The budget of each search: one method on one data set with one seed. At least one limit is needed."""

    trials: Positive | None = Field(default=None, description="The number of configurations to start.")
    epochs: Positive | None = Field(
        default=None, description="The number of epochs to train. Resuming a trial does not charge its earlier epochs again."
    )
    seconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Seconds of training and of the method's own computation."
    )
    epochs_per_trial: Annotated[int, Field(ge=1, le=10_000)] = Field(default=10, description="The epochs of a full training.")
    trial_seconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="A trial that trains for longer is ended and recorded as failed."
    )
    in_flight: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="The number of trials of one search that train at the same time. The method then proposes before all earlier"
        " trials have ended.",
    )

    @model_validator(mode="after")
    def _limited(self) -> Budget:
        if self.trials is None and self.epochs is None and self.seconds is None:
            raise ValueError("a budget needs at least one of trials, epochs and seconds")
        if self.epochs is not None and self.epochs < self.epochs_per_trial:
            raise ValueError(
                f"epochs = {self.epochs} does not pay for one full training of epochs_per_trial = {self.epochs_per_trial}"
            )
        for name, limit in (("trials", self.trials), ("epochs", self.epochs)):
            if limit is not None and limit < self.in_flight:
                raise ValueError(f"in_flight = {self.in_flight} is more than {name} = {limit} can ever fill")
        return self

    @property
    def limits(self) -> Limits:
        return Limits(self.trials, self.epochs, self.seconds)


TABLE = "table:"
FORMERLY_REPLAY = "replay:"
"""How study files of release 0.1 name a table. They are still read."""


class TableSettings(Model):
    """The table of recorded trainings that a table study searches.

    The key on disk is `table`, as in the records of release 0.1.
    """

    model_config = ConfigDict(serialize_by_alias=True)
    path: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        serialization_alias="table", description="The path or s3:// URI of a table."
    )
    count_method_seconds: bool = Field(
        default=True, description="Whether the method's own measured time counts in addition to the table's seconds."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"path": data}
        if isinstance(data, dict) and "table" in data and "path" not in data:
            return {"path" if key == "table" else key: value for key, value in data.items()}
        return data


class ObjectiveSettings(Model):
    """What is optimised, and whether trials are trained or looked up. `table:TABLE` stands for the whole section.

    The key of `table` on disk is `replay`, as in the records and compiled pipelines of release 0.1.
    """

    model_config = ConfigDict(serialize_by_alias=True)
    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    direction: Literal["max", "min"] | None = Field(
        default=None, description="By default max for an accuracy and min for a loss."
    )
    epoch: Literal["best", "last"] = Field(
        default="best", description="The epoch whose value counts for a trial: the best one or the last one."
    )
    table: TableSettings | None = Field(
        default=None, serialization_alias="replay", description="A table to look trials up in; by default they are trained."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str) and data.startswith((TABLE, FORMERLY_REPLAY)):
            return {"table": data.partition(":")[2]}
        if isinstance(data, dict) and "replay" in data and "table" not in data:
            return {"table" if key == "replay" else key: value for key, value in data.items()}
        return data

    @property
    def sign(self) -> int:
        """Return the sign with which loss = sign × metric is minimised."""
        direction = self.direction or direction_of(self.metric)
        return -1 if direction == "max" else 1


def counted_epoch(curve: Iterable[Epoch], goal: ObjectiveSettings) -> Epoch | None:
    """Return the epoch whose objective counts for a trial: the best (the earliest of equals) or the last.

    The result is None if no epoch has a finite objective.
    """
    scored = [e for e in curve if math.isfinite(e.metrics.get(goal.metric, math.nan))]
    if not scored:
        return None
    if goal.epoch == "last":
        return scored[-1]
    return min(scored, key=lambda e: goal.sign * e.metrics[goal.metric])


class Training(Model):
    """How a configuration is trained."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="bfloat16 and float16 compute in mixed precision. Weights stay float32."
    )


class Evaluation(Model):
    """How the incumbent is evaluated at the end."""

    seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="The number of times that the incumbent is retrained, each time with another seed."
    )


class Noise(Model):
    """For `tuneoff table build`: train some configurations with additional seeds, to measure the noise."""

    configurations: Positive = Field(
        description="The number of configurations, drawn from the grid at random. Every build draws the same ones."
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1000)]


Cores = Annotated[str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})?$|^[0-9]{1,7}m$")]
Amount = Annotated[str, Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
Gpus = Annotated[int, Field(ge=0, le=64)]
Retries = Annotated[int, Field(ge=0, le=10)]


class StepResources(Model):
    """The resources of one step. A field that is left out has the value for all steps."""

    cpu: Cores | None = None
    memory: Amount | None = None
    gpu: Gpus | None = None
    retries: Retries | None = None


class Resources(Model):
    """The resources of each step. On a cluster they are requests and limits.

    Locally only `workers`, `hang_seconds`, `retries` and `cache` have a meaning.
    """

    cpu: Cores | None = None
    memory: Amount | None = None
    gpu: Gpus = Field(default=0, description="GPUs of each step that trains: tuner and evaluator.")
    gpu_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,98}[A-Za-z0-9]$")] = "nvidia.com/gpu"
    workers: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None,
        description="The number of searches (seeds) that a tuner step runs at the same time, each with budget.in_flight"
        " processes; by default as many as the cores allow.",
    )
    hang_seconds: Annotated[float, Field(ge=60, le=1_000_000)] = Field(
        default=3600.0, description="Seconds without progress after which a worker is killed and its trial is tried again."
    )
    retries: Retries = 1
    cache: bool = Field(default=True, description="Whether KFP may reuse prepared data. Tuner steps are never cached.")
    steps: dict[Step, StepResources] = Field(default_factory=dict, description="Other values for single steps.")

    def of(self, step: Step) -> StepResources:
        """Return the resources of this step, with the values for all steps filled in."""
        gpu = self.gpu if step in ("tuner", "evaluator") else 0
        common = StepResources(cpu=self.cpu, memory=self.memory, gpu=gpu, retries=self.retries)
        own = self.steps.get(step, StepResources())
        return common.model_copy(update=own.model_dump(exclude_none=True))


class Tracking(Model):
    """The MLflow server and experiment that receive the runs."""

    uri: str | None = Field(
        default=None, description="The http(s) URI of an MLflow server; by default a SQLite file in the output folder."
    )
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="By default tuneoff/NAME."
    )


class Study(Model):
    """A whole study. The pipeline passes it to each step as JSON."""

    name: Name
    datasets: Annotated[list[Dataset], Field(min_length=1, max_length=100)]
    methods: Annotated[list[MethodChoice], Field(min_length=1, max_length=100)]
    budget: Budget
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1000)] = [0]
    model: Annotated[str, Field(pattern=r"^(paper-cnn|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")] = "paper-cnn"
    space: Space = PAPER_SPACE
    objective: ObjectiveSettings = ObjectiveSettings()
    split: Split = Split()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    noise: Noise | None = Field(default=None, description="Only for `tuneoff table build`.")
    resources: Resources = Resources()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()
    artifacts: str | None = Field(
        default=None, description="A folder or s3:// URI for the record and all results; by default the output folder."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Study:
        for what, names in (
            ("datasets", [d.name for d in self.datasets]),
            ("methods", [m.label for m in self.methods]),
            ("seeds", self.seeds),
        ):
            doubled = sorted({str(n) for n in names if names.count(n) > 1})  # type: ignore[arg-type]
            if doubled:
                raise ValueError(f"{what} must be distinct, and {', '.join(doubled)} is given more than once")
        if self.budget.epochs is not None and self.budget.epochs < self.full_epochs:
            raise ValueError(
                f"budget.epochs = {self.budget.epochs} does not pay for one full training of {self.trainings} folds ×"
                f" epochs_per_trial = {self.full_epochs}"
            )
        return self

    @property
    def cells(self) -> list[Cell]:
        """Return every method on every data set, in the order of the study file."""
        return [Cell(dataset=d.name, method=m) for d in self.datasets for m in self.methods]

    def keeping(self, held: Study) -> Study:
        """Return this study with the methods of `held` that were collected from Katib, which no study file names."""
        labels = [m.label for m in self.methods]
        kept = [m for m in held.methods if m.collected and m.label not in labels]
        return self.model_copy(update={"methods": [*self.methods, *kept]}) if kept else self

    def dataset(self, name: str) -> Dataset:
        return next(d for d in self.datasets if d.name == name)

    def cell(self, dataset: str, label: str) -> Cell:
        """Return the cell of a data set and a method's label.

        Raises:
            ValueError: No such cell exists; the message lists the cells.
        """
        for cell in self.cells:
            if (cell.dataset, cell.method.label) == (dataset, label):
                return cell
        raise ValueError(f"{dataset}/{label} is not a cell of the study; its cells are {', '.join(c.name for c in self.cells)}")

    @property
    def trainings(self) -> int:
        """Return the number of models that a trial trains: one, or one per fold."""
        return self.split.folds or 1

    @property
    def full_epochs(self) -> int:
        """Return the epochs that a full training of a configuration costs the budget."""
        return self.budget.epochs_per_trial * self.trainings

    def searches_at_once(self, cores: int) -> int:
        """Return the number of searches of a cell that run at the same time on this number of cores."""
        return min(self.resources.workers or max(1, cores // self.budget.in_flight), len(self.seeds))

    def threads(self, cores: int) -> int:
        """Return the number of threads for each training process if all of them train at the same time."""
        return max(1, cores // (self.searches_at_once(cores) * self.budget.in_flight))

    @property
    def experiment(self) -> str:
        """Return the name of the MLflow experiment."""
        return self.tracking.experiment or f"tuneoff/{self.name}"

    def science(self) -> dict[str, Any]:
        """Return the sections that decide the results. Two studies with equal sections are the same study."""
        return self.model_dump(mode="json", exclude={"resources", "cluster", "tracking", "artifacts"})


class Cell(Model):
    """One method on one data set, with all seeds: the work of one tuner step."""

    dataset: Name
    method: MethodChoice

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.method.label}"
