"""Run a study's compiled pipeline with KFP's DockerRunner: each step runs in a container of its image.

python in_containers.py STUDY STORE TRACKING FOLDER: KFP's artifacts go to the folder, which the containers' user must be able
to write. DOCKER_HOST is the address of the daemon. AWS_… variables are passed to the containers.
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
    docker.client.DEFAULT_TIMEOUT_SECONDS = 600  # for a busy machine; KFP has no option for it
    compiled = folder / "pipeline.yaml"
    Compiler().compile(bakeoff(read_study(study)), str(compiled))
    # KFP looks up an image by exactly the name that the daemon lists.
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
    workspace = folder / "workspace"  # a separate folder, because KFP can mount a folder only once
    workspace.mkdir()
    local.init(runner=runner, pipeline_root=str(folder), workspace_root=str(workspace), raise_on_error=False)
    pipeline(store=store, tracking=tracking)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
