"""Test one step of the pipeline, as a KFP component, in a container of its image, with KFP's DockerRunner and podman's socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import UID, daemon, image, workplace
from kfp import dsl, local
from kfp.local import config

from made import made_study
from small import small_npz
from tuneoff.components.data_prep.component import data_prep
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import read_study


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the only folder that containers share with this machine. Their root is read-only, and they have no network."""
    image("data_prep")
    folder = workplace(tmp_path / "place")
    with daemon(tmp_path) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        monkeypatch.setattr("docker.client.DEFAULT_TIMEOUT_SECONDS", 600)  # for a busy machine; KFP has no option for it
        local.init(local.DockerRunner(read_only=True, cap_drop=["ALL"], network_mode="none"), str(folder), raise_on_error=True)
        yield folder
        config.LocalExecutionConfig.instance = None


def test_a_step_runs_in_a_container_and_leaves_its_artifact_and_its_record(place: Path) -> None:
    small_npz(place / "bars.npz")
    study = made_study(datasets=[{"name": "bars", "path": str(place / "bars.npz")}])
    given = {"study": study.model_dump_json(), "dataset": "bars", "store": str(place / "store")}
    others = dict.fromkeys(data_prep.component_spec.inputs.keys() - given.keys(), "")

    @dsl.pipeline
    def prepare() -> None:
        data_prep(**given, **others).set_container_image(image("data_prep"))

    prepare()
    assert read_study(open_store(str(place / "store"))).prepared["bars"].classes
    (artifact,) = [p.parent for p in place.rglob("dataset.json") if "store" not in p.parts]
    assert Prepared.read(artifact).classes
    assert artifact.stat().st_uid == UID
