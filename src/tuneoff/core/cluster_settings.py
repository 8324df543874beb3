"""What a study says of the cluster that it runs on: where its pods go, what they mount, which images and secrets they get."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .space import Model

Step = Literal["data_prep", "tuner", "evaluator", "reporter"]
KubeName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""A name of Kubernetes: of a namespace, a secret, a claim."""
LabelKey = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
SecretKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
MountPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){1,8}$")]
ImagePrefix = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]{0,198}[A-Za-z0-9]$")]
ImageName = Annotated[str, Field(pattern=r"^[a-z_]+(-[a-z]+){0,2}$")]
ImageTag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
ImageReference = Annotated[
    str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$")
]
"""A whole image: registry, name, and tag or digest."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Seconds = Annotated[int, Field(ge=1, le=2_147_483_647)]


class Toleration(Model):
    """A taint of nodes that pods put up with."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        default=None, description="How long a pod stays on a node that gets such a taint with the effect NoExecute."
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value: leave it out, or use Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key tolerates all taints: say operator: Exists, or give its key")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds belong to the effect NoExecute")
        return self


class Volume(Model):
    """A PersistentVolumeClaim that every step mounts: for the record, checkpoints and results, and for data of one's own."""

    claim: KubeName
    mount: MountPath = Field(default="/tuneoff", description="Where the steps see it.")

    def holds(self, path: str) -> bool:
        """Whether the path lies on the volume."""
        return path.startswith(self.mount + "/")


class Images(Model):
    """The steps' images: PREFIX/NAME:TAG, PREFIX/NAME@DIGEST where a digest is given, or what `names` says."""

    prefix: ImagePrefix = Field(default="tuneoff", description="The registry and what stands before the images' names.")
    tag: ImageTag | None = Field(default=None, description="By default the version of tuneoff.")
    digests: dict[ImageName, Digest] = Field(default_factory=dict, description="By image, such as tuner-gpu.")
    names: dict[ImageName, ImageReference] = Field(
        default_factory=dict, description="Whole references in place of single images: tuner: registry.example.org/mine:1."
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pull_secrets: Annotated[list[KubeName], Field(max_length=20)] = []

    @model_validator(mode="after")
    def _named_once(self) -> Images:
        for name in self.names.keys() & self.digests.keys():
            raise ValueError(f"{name} is in names and in digests: write the digest into names, as IMAGE@sha256:…")
        return self


class Backoff(Model):
    """How long a step that failed waits before it is tried again: `seconds`, then `factor` times as long each time."""

    seconds: Annotated[int, Field(ge=0, le=86_400)] = 2
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    longest_seconds: Seconds = 3600


class StepPlace(Model):
    """Where one step runs, and for how long at most; what it leaves out is as for all steps."""

    node_selector: dict[LabelKey, LabelValue] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=50)] | None = None
    timeout_seconds: Seconds | None = None


_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|ACCESS_KEY|API_KEY", re.IGNORECASE)


class Cluster(Model):
    """What only a cluster needs to know. Nothing of it decides a result."""

    namespace: KubeName | None = Field(default=None, description="Where the pods run; by default where KFP runs them.")
    service_account: KubeName | None = Field(
        default=None, description="The pods' account, which runs KFP's steps; by default KFP's own."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Labels that the nodes must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=50)] = []
    steps: dict[Step, StepPlace] = Field(default_factory=dict, description="Where single steps run instead.")
    volume: Volume | None = None
    env: dict[Variable, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, description="Environment variables of every step, such as AWS_ENDPOINT_URL."
    )
    secrets: dict[KubeName, dict[Variable, SecretKey]] = Field(
        default_factory=dict, description="Environment variables from Kubernetes secrets: secret: {VARIABLE: key}."
    )
    images: Images = Images()
    backoff: Backoff = Backoff()
    timeout_seconds: Seconds | None = Field(default=None, description="A step that takes longer is ended, and tried again.")
    pending_seconds: Seconds = Field(
        default=900, description="With submit --wait, a run ends when one of its pods could not start for so long."
    )
    deadline_seconds: Seconds | None = Field(default=None, description="A run that takes longer is ended.")
    ttl_seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        default=None,
        description="How long the pods of a run that has ended are kept. KFP 2.17 keeps them for an hour, whatever this says.",
    )
    run_as_non_root: bool = Field(default=True, description="Whether pods say that they run as no root; KFP before 2.17 cannot.")

    @model_validator(mode="after")
    def _sound(self) -> Cluster:
        for name in self.env:
            if _SECRET.search(name):
                raise ValueError(
                    f"env.{name} looks like a secret, and stands in the pipeline for all to read: put it under secrets"
                )
        named = [*self.env, *(variable for variables in self.secrets.values() for variable in variables)]
        doubled = sorted(name for name, count in Counter(named).items() if count > 1)
        if doubled:
            raise ValueError(f"{doubled[0]} is set twice, in env and secrets or in two secrets")
        return self

    def reaches(self, path: str) -> bool:
        """Whether its pods can read what lies there: on S3, or on their volume."""
        return path.startswith("s3://") or (self.volume is not None and self.volume.holds(path))

    def of(self, step: Step) -> StepPlace:
        """Where this step runs, all told."""
        common = StepPlace(node_selector=self.node_selector, tolerations=self.tolerations, timeout_seconds=self.timeout_seconds)
        own = self.steps.get(step, StepPlace())
        return common.model_copy(update={k: v for k in StepPlace.model_fields if (v := getattr(own, k)) is not None})
