"""A study as validated data: what the study file says, and what every step is told."""

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
"""Names that become folders, tags and KFP labels: lower-case letters, digits and _ . - inside, 40 characters at most."""
Positive = Annotated[int, Field(ge=1)]


def _name_of(path: str) -> str:
    stem = path.rsplit("/", 1)[-1].removesuffix(".npz").lower()
    return re.sub(r"[^a-z0-9_.-]+", "-", stem).strip("_.-")[:40].rstrip("_.-") or "data"


class Subset(Model):
    """How many images of each part are kept, drawn with the split's seed and stratified by class."""

    train: Annotated[int, Field(ge=10)] | None = None
    validation: Annotated[int, Field(ge=10)] | None = None
    test: Annotated[int, Field(ge=10)] | None = None


class Dataset(Model):
    """A built-in data set by name, or the user's own .npz by path or s3:// URI."""

    name: Name
    path: str | None = Field(default=None, description="A path or s3:// URI of an .npz; left out for a built-in data set.")
    subset: Subset = Subset()
    image_size: Annotated[int, Field(ge=4, le=512)] | None = Field(
        default=None, description="Images are averaged or interpolated to this many pixels a side."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """`mnist`, `data/mine.npz` and `s3://bucket/mine.npz` stand for the whole entry."""
        if isinstance(data, str):
            data = {"path": data} if data.endswith(".npz") or "/" in data else {"name": data}
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("path"), str):
            return {**data, "name": _name_of(data["path"])}
        return data


class Split(Model):
    """How the training images are parted for model selection. The test images are never part of it."""

    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="The share of the training images held out for validation (0.2 of MNIST's 60 000 is 12 000)."
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15,
        description="The share of all images held out for the test, where a data set brings no test part of its own.",
    )
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None, description="k-fold cross-validation: a trial trains k models side by side and reports the means."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def _label_of(method: str) -> str:
    """The name itself; the class's name in lower case with hyphens for module:Class."""
    class_name = method.partition(":")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower().strip("_")[:40] if class_name else method


class MethodChoice(Model):
    """A method of the registry, its settings, and the label under which it stands in the tables."""

    name: str
    label: Name
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """`random` stands for the whole entry; the label is the name unless another is given."""
        if isinstance(data, str):
            data = {"name": data}
        if isinstance(data, dict) and "label" not in data and isinstance(data.get("name"), str):
            return {**data, "label": _label_of(data["name"])}
        return data

    @property
    def collected(self) -> bool:
        """Whether it searched elsewhere, and only its record was brought here: nothing of it is run or repeated here."""
        return self.name.startswith(COLLECTED)


COLLECTED = "katib-"
"""How the names of methods begin that Katib ran. No study file can name them."""


class Budget(Model):
    """What each method may spend on each data set with each seed. At least one limit is needed."""

    trials: Positive | None = Field(default=None, description="Configurations started.")
    epochs: Positive | None = Field(default=None, description="Epochs trained; resumed epochs are not counted twice.")
    seconds: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Training and the method's own time.")
    epochs_per_trial: Annotated[int, Field(ge=1, le=10_000)] = Field(default=10, description="Epochs of a full training.")
    trial_seconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="A trial that trains longer is ended as failed, with that reason."
    )
    in_flight: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="Trials of a seed that train at the same time: a method then decides before it has heard of all before.",
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
    epoch: Literal["best", "last"] = Field(default="best", description="Which epoch's value counts for a trial.")
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
        """loss = sign × metric, to be minimised."""
        direction = self.direction or direction_of(self.metric)
        return -1 if direction == "max" else 1


def counted_epoch(curve: Iterable[Epoch], goal: ObjectiveSettings) -> Epoch | None:
    """The epoch whose objective counts for a trial: the best (the earliest of equals) or the last; None without a finite one."""
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
        default="float32", description="bfloat16 and float16 compute in mixed precision: weights stay float32."
    )


class Evaluation(Model):
    """How the incumbent is judged at the end."""

    seeds: Annotated[int, Field(ge=1, le=100)] = Field(default=3, description="How many times the incumbent is trained anew.")


class Noise(Model):
    """For `tuneoff table build`: some configurations of the grid are trained with more seeds than the study's, for the noise."""

    configurations: Positive = Field(description="How many, drawn from the grid by chance, the same ones every time.")
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1000)]


Cores = Annotated[str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})?$|^[0-9]{1,7}m$")]
Amount = Annotated[str, Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
Gpus = Annotated[int, Field(ge=0, le=64)]
Retries = Annotated[int, Field(ge=0, le=10)]


class StepResources(Model):
    """What one step may use; what it leaves out is as for all steps."""

    cpu: Cores | None = None
    memory: Amount | None = None
    gpu: Gpus | None = None
    retries: Retries | None = None


class Resources(Model):
    """What each step may use; requests and limits on a cluster.

    Locally only `workers`, `hang_seconds`, `retries` and `cache` have a meaning.
    """

    cpu: Cores | None = None
    memory: Amount | None = None
    gpu: Gpus = Field(default=0, description="GPUs of each step that trains: tuner and evaluator.")
    gpu_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,98}[A-Za-z0-9]$")] = "nvidia.com/gpu"
    workers: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None,
        description="Searches (seeds) of a tuner step that run side by side, each with budget.in_flight training processes;"
        " by default what the cores allow.",
    )
    hang_seconds: Annotated[float, Field(ge=60, le=1_000_000)] = Field(
        default=3600.0, description="A worker that says nothing for so long hangs: it is killed, and its trial tried again."
    )
    retries: Retries = 1
    cache: bool = Field(default=True, description="Whether KFP may reuse prepared data; tuner steps are never cached.")
    steps: dict[Step, StepResources] = Field(default_factory=dict, description="What single steps may use instead.")

    def of(self, step: Step) -> StepResources:
        """What this step may use, all told."""
        gpu = self.gpu if step in ("tuner", "evaluator") else 0
        common = StepResources(cpu=self.cpu, memory=self.memory, gpu=gpu, retries=self.retries)
        own = self.steps.get(step, StepResources())
        return common.model_copy(update=own.model_dump(exclude_none=True))


class Tracking(Model):
    """Where MLflow runs go."""

    uri: str | None = Field(default=None, description="An MLflow server's http(s) URI; by default SQLite in the output folder.")
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="By default tuneoff/NAME."
    )


class Study(Model):
    """A whole study, as the pipeline hands it to each step in JSON."""

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
                raise ValueError(f"{what} must be distinct, and {', '.join(doubled)} stands there more than once")
        if self.budget.epochs is not None and self.budget.epochs < self.full_epochs:
            raise ValueError(
                f"budget.epochs = {self.budget.epochs} does not pay for one full training of {self.trainings} folds ×"
                f" epochs_per_trial = {self.full_epochs}"
            )
        return self

    @property
    def cells(self) -> list[Cell]:
        """Every method on every data set, in the order of the study file."""
        return [Cell(dataset=d.name, method=m) for d in self.datasets for m in self.methods]

    def keeping(self, held: Study) -> Study:
        """This study with the methods of `held` that were collected from elsewhere, and that no study file names."""
        labels = [m.label for m in self.methods]
        kept = [m for m in held.methods if m.collected and m.label not in labels]
        return self.model_copy(update={"methods": [*self.methods, *kept]}) if kept else self

    def dataset(self, name: str) -> Dataset:
        return next(d for d in self.datasets if d.name == name)

    def cell(self, dataset: str, label: str) -> Cell:
        """The cell of a data set and a method's label; a ValueError names those that there are."""
        for cell in self.cells:
            if (cell.dataset, cell.method.label) == (dataset, label):
                return cell
        raise ValueError(f"{dataset}/{label} is no cell of the study; its cells are {', '.join(c.name for c in self.cells)}")

    @property
    def trainings(self) -> int:
        """Models that a trial trains: one, or one a fold."""
        return self.split.folds or 1

    @property
    def full_epochs(self) -> int:
        """What a full training of a configuration costs the budget."""
        return self.budget.epochs_per_trial * self.trainings

    def searches_at_once(self, cores: int) -> int:
        """Seeds of a cell that are searched side by side on so many cores, each with its trials in flight."""
        return min(self.resources.workers or max(1, cores // self.budget.in_flight), len(self.seeds))

    def threads(self, cores: int) -> int:
        """Threads of each training process, with all of them at work."""
        return max(1, cores // (self.searches_at_once(cores) * self.budget.in_flight))

    @property
    def experiment(self) -> str:
        """The MLflow experiment's name."""
        return self.tracking.experiment or f"tuneoff/{self.name}"

    def science(self) -> dict[str, Any]:
        """The sections that decide the results: two studies that agree in them are the same study."""
        return self.model_dump(mode="json", exclude={"resources", "cluster", "tracking", "artifacts"})


class Cell(Model):
    """One method on one data set: what a tuner step does, for all its seeds."""

    dataset: Name
    method: MethodChoice

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.method.label}"
