"""What the steps are told: the sections of a study that a step reads, as validated data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .problem import Limits
from .space import Model, Space

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$")]
"""Names that become folders, tags and KFP labels: lower-case letters, digits and _ . - inside, 40 characters at most."""
Positive = Annotated[int, Field(ge=1)]


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


class Split(Model):
    """How the training images are parted for model selection. The test images are never part of it."""

    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="The share of the training images held out for validation (0.2 of MNIST's 60 000 is 12 000)."
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15, description="The share of all images held out for the test, where a data set brings no test part of its own."
    )
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None, description="k-fold cross-validation: a trial trains k models side by side and reports the means."
    )
    seed: Annotated[int, Field(ge=0)] = 0


class MethodChoice(Model):
    """A method of the registry, its settings, and the label under which it stands in the tables."""

    name: str
    label: Name
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _label(cls, data: Any) -> Any:
        return {**data, "label": data["name"]} if isinstance(data, dict) and data.get("label") is None and "name" in data else data


class Budget(Model):
    """What each method may spend on each data set with each seed. At least one limit is needed."""

    trials: Positive | None = Field(default=None, description="Configurations started.")
    epochs: Positive | None = Field(default=None, description="Epochs trained; resumed epochs are not counted twice.")
    seconds: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Training and the method's own time.")
    epochs_per_trial: Annotated[int, Field(ge=1, le=10_000)] = Field(default=10, description="Epochs of a full training.")

    @model_validator(mode="after")
    def _limited(self) -> Budget:
        if self.trials is None and self.epochs is None and self.seconds is None:
            raise ValueError("a budget needs at least one of trials, epochs and seconds")
        if self.epochs is not None and self.epochs < self.epochs_per_trial:
            raise ValueError(f"epochs = {self.epochs} does not pay for one full training of epochs_per_trial = {self.epochs_per_trial}")
        return self

    @property
    def limits(self) -> Limits:
        return Limits(self.trials, self.epochs, self.seconds)


class Goal(Model):
    """What is optimised."""

    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    direction: Literal["max", "min"] | None = Field(default=None, description="By default max for an accuracy and min for a loss.")
    epoch: Literal["best", "last"] = Field(default="best", description="Which epoch's value counts for a trial.")

    @property
    def sign(self) -> int:
        """loss = sign × metric, to be minimised."""
        direction = self.direction or ("max" if self.metric == "val_accuracy" else "min")
        return -1 if direction == "max" else 1


class Training(Model):
    """How a configuration is trained."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="bfloat16 and float16 compute in mixed precision: weights stay float32."
    )


class Evaluation(Model):
    """How the incumbent is judged at the end."""

    seeds: Annotated[int, Field(ge=1, le=100)] = Field(default=3, description="How many times the incumbent is trained anew.")


class Resources(Model):
    """What each step may use; requests and limits on a cluster. Locally only `workers` has a meaning."""

    cpu: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$|^\d+m$")] | None = None
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")] | None = None
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    gpu_type: str = "nvidia.com/gpu"
    workers: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="Searches (seeds) of a tuner step that run side by side; by default what the cores allow."
    )
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    cache: bool = Field(default=True, description="Whether KFP may reuse prepared data; tuner steps are never cached.")


class Tracking(Model):
    """Where MLflow runs go."""

    uri: str | None = Field(default=None, description="An MLflow server's http(s) URI; by default SQLite in the output folder.")
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default=None, description="By default tuneoff/NAME.")


class StepSpec(Model):
    """All that a step needs of a study: what the pipeline hands to each step as JSON."""

    study: Name
    model: str
    space: Space
    budget: Budget
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]]
    objective: Goal
    split: Split
    training: Training
    evaluation: Evaluation
    tracking: Tracking
    workers: int | None = None


class Cell(Model):
    """One method on one data set: what a tuner step does, for all its seeds."""

    dataset: Name
    method: MethodChoice

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.method.label}"
