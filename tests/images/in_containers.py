"""Runs a study's compiled pipeline with KFP's DockerRunner: every step in a container of its own image.

python in_containers.py STUDY STORE TRACKING FOLDER: the folder gets KFP's artifacts, and the containers' user may write there.
DOCKER_HOST says where the daemon listens; AWS_… variables are the containers' too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import docker.client
import docker.types
from containers import PREFIX
from kfp import components, local
from kfp.compiler import Compiler

from tuneoff.core.runtime.images import PREFIX as PUBLISHED
from tuneoff.data.fetch import cache_path
from tuneoff.pipelines.bakeoff import bakeoff
from tuneoff.study_file.check import read_study


def main(study: str, store: str, tracking: str, folder: Path) -> None:
    docker.client.DEFAULT_TIMEOUT_SECONDS = 600  # a busy machine; KFP does not let itself be told
    compiled = folder / "pipeline.yaml"
    Compiler().compile(bakeoff(read_study(study)), str(compiled))
    # KFP looks for an image by the very name that the daemon gives it.
    pipeline = components.load_component_from_text(compiled.read_text().replace(f"image: {PUBLISHED}/", f"image: {PREFIX}/"))
    cache = docker.types.Mount("/datasets", str(cache_path("any").parent), type="bind", read_only=True)
    runner = local.DockerRunner(
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="host",
        mounts=[cache],
        environment={"TUNEOFF_CACHE": "/datasets", **{k: v for k, v in os.environ.items() if k.startswith("AWS_")}},
    )
    workspace = folder / "workspace"  # a folder of its own: KFP mounts one folder in one place only
    workspace.mkdir()
    local.init(runner=runner, pipeline_root=str(folder), workspace_root=str(workspace), raise_on_error=False)
    pipeline(store=store, tracking=tracking)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
