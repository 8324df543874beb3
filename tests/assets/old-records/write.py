"""Write the records of a released version into this folder, for tests/test_old_records.py.

Run it with a checkout of that version: `python write.py CHECKOUT VERSION KIND…` (without KIND: every kind). The script calls
only the command `tuneoff` of that checkout, so it does not depend on how this version arranges its modules.
"""

from __future__ import annotations

import csv
import itertools
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HERE = Path(__file__).parent
PLACEHOLDER = "@HERE@"
"""Stands for the folder of the study file, whose absolute path the record holds."""
KEPT = ("study.json", "record/", "checkpoints/", "systems/", "evaluations/", "data/", "failures/")
LEFT_OUT = (".png", "/model.keras")
CORES = "1"
BARS = {"name": "bars", "path": "bars.npz"}
SPACE: dict[str, Any] = {
    "filters1": {"type": "categorical", "values": [2, 4]},
    "filters2": {"type": "categorical", "values": [2, 4]},
    "neurons": {"type": "categorical", "values": [8, 16]},
    "dropout": {"type": "float", "low": 0.0, "high": 0.4, "grid_points": 3},
    "learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True, "grid_points": 3},
}
MODEL = '''"""A model that trains, or kills its worker process, as the configuration says."""

import os

from keras import Sequential, layers, optimizers


def build(config, input_shape, classes):
    if config["mood"] == "deadly":
        os.kill(os.getpid(), 9)
    model = Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])
    model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
'''


class Release:
    """The command `tuneoff` of a checkout."""

    def __init__(self, checkout: Path, version: str) -> None:
        self._checkout, self.version = checkout, version

    def start(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self._checkout / "src"), "TUNEOFF_CORES": CORES, **variables}
        command = [sys.executable, "-m", "tuneoff", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, *arguments: object, **variables: str) -> str:
        """Run the command to its end and return its standard output."""
        process = self.start(*arguments, **variables)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"tuneoff {' '.join(map(str, arguments))} ended with exit code {process.returncode}: {output}")
        return output

    def run_until(self, happens: Callable[[list[dict[str, Any]]], bool], log: Path, number: int, study: Path, out: Path) -> None:
        """Start a run, and send it the signal as soon as the search with this log has got so far."""
        process = self.start("run", study, "--out", out)
        while not happens(events(log)):
            if process.poll() is not None:
                raise SystemExit(f"{study}: the run ended before the moment at which it was to be cut off")
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate()
        time.sleep(5)  # the processes of a killed run end by themselves

    def facts(self, out: Path | str, read: Callable[[str], str | bytes]) -> dict[str, Any]:
        """The numbers that each reading command gives; `read` returns a file of the store."""
        facts = {
            "status": json.loads(self("status", out, "--json")),
            "trials": json.loads(self("trials", out, "--format", "json")),
            "best": json.loads(self("best", out, "--format", "json")),
        }
        self("report", out)
        return {**facts, "report": json.loads(read("report/results.json"))}


def events(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log that may be growing."""
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def write_study(folder: Path, **sections: Any) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(sections, sort_keys=False))
    return file


def write_bars(folder: Path, images: int = 240, size: int = 8, classes: int = 3) -> None:
    """Images with one bright bar a class, and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    pictures = rng.integers(0, 90, (images, size, size), dtype=np.uint8)
    for k in range(classes):
        pictures[labels == k, k * 2 : k * 2 + 2, :] += 120
    order = rng.permutation(images)
    pictures, labels = pictures[order], labels[order].astype(np.uint8)
    test = images // 4
    arrays = {"x_train": pictures[test:], "y_train": labels[test:], "x_test": pictures[:test], "y_test": labels[:test]}
    np.savez_compressed(folder / "bars.npz", **arrays)  # type: ignore[arg-type]


def write_table(release: Release, folder: Path, epochs: int = 6) -> None:
    """A table of a smooth function of three hyperparameters, whose curves cross."""
    with open(folder / "curves.csv", "w", newline="") as file:
        rows = csv.writer(file)
        names = ["loss", "accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]
        rows.writerow(["units", "learning_rate", "optimizer", "seed", "epoch", "seconds", *names])
        grid = itertools.product([8, 16, 24, 32], [0.001, 0.01, 0.1], ["SGD", "Adam"], [0, 1])
        for units, rate, optimizer, seed in grid:
            top = 0.95 - 0.002 * abs(units - 24) - 0.05 * abs(math.log10(rate) + 2) - 0.03 * (optimizer == "SGD") - 0.004 * seed
            speed = 0.3 + 0.2 * (optimizer == "Adam") + 0.15 * (math.log10(rate) + 3) + 0.01 * seed
            for epoch in range(1, epochs + 1):
                accuracy = top * (1 - math.exp(-speed * epoch))
                values = [1 - accuracy, accuracy, 1.05 - accuracy, accuracy - 0.02, 1.06 - accuracy, accuracy - 0.03]
                rows.writerow([units, rate, optimizer, seed, epoch, 0.5 + units / 100, *(round(v, 6) for v in values)])
    release("table", "import", folder / "curves.csv", "--from", "csv", "--out", folder / "table.parquet")
    (folder / "curves.csv").unlink()


# The kinds


def keras(release: Release, folder: Path) -> dict[str, Any]:
    """Searches that train: one without interruption, one cut off twice, and one that has lost its checkpoints."""
    write_bars(folder)
    methods = ["random", "hyperband-fixed"]
    study = write_study(
        folder, name="keras", datasets=[BARS], methods=methods, space=SPACE, budget={"epochs": 14, "epochs_per_trial": 4}
    )
    release("run", study, "--out", folder / "finished")
    random, hyperband = (folder / "stopped/record/bars" / label / "seed-0.jsonl" for label in methods)
    release.run_until(lambda log: any(e["event"] == "epoch" for e in log), random, signal.SIGTERM, study, folder / "stopped")

    def resumed(log: list[dict[str, Any]]) -> bool:
        asked = [e["trial"] for e in log if e["event"] == "asked" and e["parent"] is not None]
        return any(e["event"] == "epoch" and e["trial"] in asked for e in log)

    release.run_until(resumed, hyperband, signal.SIGKILL, study, folder / "stopped")
    (folder / "restored").mkdir()
    for part in ("record", "data", "study.json"):
        copy(folder / "stopped" / part, folder / "restored" / part)
    release("run", study, "--out", folder / "restored")
    return facts(release, folder, "finished", "stopped", "restored")


def died(release: Release, folder: Path) -> dict[str, Any]:
    """A search with a configuration that kills its worker."""
    write_bars(folder)
    (folder / "old_model.py").write_text(MODEL)
    space = {"mood": {"type": "categorical", "values": ["good", "deadly"]}}
    study = write_study(
        folder,
        name="died",
        datasets=[BARS],
        methods=["grid"],
        model="old_model:build",
        space=space,
        budget={"trials": 2, "epochs_per_trial": 2},
    )
    release("run", study, "--out", folder / "finished")
    return facts(release, folder, "finished")


TABLE_METHODS: list[Any] = [
    "random",
    "hyperband-fixed",
    {"name": "sklearn-halving", "label": "halving", "settings": {"resume": True}},
    {"name": "optuna-tpe", "settings": {"n_startup_trials": 4}},
    {"name": "skopt-gp", "settings": {"n_initial_points": 4}},
    {"name": "hyperopt-tpe", "settings": {"n_startup_jobs": 4}},
]


def table(release: Release, folder: Path) -> dict[str, Any]:
    """Searches of a table, extended by a second seed."""
    write_table(release, folder, epochs=3)
    sections = {"name": "table", "objective": "replay:table.parquet", "methods": TABLE_METHODS, "budget": {"epochs": 30}}
    release("run", write_study(folder, **sections, seeds=[0]), "--out", folder / "finished")
    release("run", write_study(folder, **sections, seeds=[0, 1]), "--out", folder / "finished")
    return facts(release, folder, "finished")


def in_flight(release: Release, folder: Path) -> dict[str, Any]:
    """Searches of a table with several trials in flight."""
    write_table(release, folder)
    study = write_study(
        folder,
        name="in-flight",
        objective={"replay": {"table": "table.parquet", "count_method_seconds": False}, "metric": "val_loss"},
        methods=["random", "hyperband-fixed", "optuna-asha", "hyperopt-tpe"],
        budget={"epochs": 54, "in_flight": 3},
    )
    release("run", study, "--out", folder / "finished")
    return facts(release, folder, "finished")


def system(release: Release, folder: Path) -> dict[str, Any]:
    """A system that trains its own models, cut off once and begun again."""
    write_bars(folder)
    study = write_study(
        folder,
        name="system",
        datasets=[BARS],
        methods=[{"name": "flaml", "settings": {"estimator_list": ["kneighbor", "lrl1"]}}],
        budget={"seconds": 4},
    )
    log = folder / "finished/record/bars/flaml/seed-0.jsonl"
    release.run_until(lambda log: any(e["event"] == "told" for e in log), log, signal.SIGKILL, study, folder / "finished")
    release("run", study, "--out", folder / "finished")
    return facts(release, folder, "finished")


def katib(release: Release, folder: Path) -> dict[str, Any]:
    """What was collected from Katib's experiments."""
    for name in ("study.yaml", "experiment-and-trials.yaml", "bars-mnist-tpe-0-8hs2kqpw.log"):
        shutil.copy(HERE.parents[1] / "pipelines" / "katib" / name, folder)
    release("katib", folder / "study.yaml", "--out", folder / "finished", "--collect", "--from", folder)
    (folder / "experiment-and-trials.yaml").unlink()
    (folder / "bars-mnist-tpe-0-8hs2kqpw.log").unlink()
    return facts(release, folder, "finished")


def bucket(release: Release, folder: Path) -> dict[str, Any]:
    """A search whose store is a bucket: objects.json has every object."""
    import boto3
    from moto.server import ThreadedMotoServer

    write_bars(folder)
    study = write_study(
        folder,
        name="bucket",
        datasets=[BARS],
        methods=["random"],
        space=SPACE,
        budget={"trials": 2, "epochs_per_trial": 2},
        artifacts="s3://tuneoff/old",
    )
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    names = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {**names, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    client = boto3.client("s3")
    client.create_bucket(Bucket="tuneoff")

    def read(name: str) -> bytes:
        return client.get_object(Bucket="tuneoff", Key=f"old/{name}")["Body"].read()  # type: ignore[no-any-return]

    release("run", study, "--out", folder / "out")
    shutil.rmtree(folder / "out")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="tuneoff"):
        for name in (entry["Key"].removeprefix("old/") for entry in page["Contents"]):
            if not name.startswith(KEPT) or name.endswith(LEFT_OUT):
                client.delete_object(Bucket="tuneoff", Key=f"old/{name}")
    page = client.list_objects_v2(Bucket="tuneoff")
    objects = [entry["Key"].removeprefix("old/") for entry in page["Contents"]]
    (folder / "objects.json").write_text(json.dumps({name: read(name).decode() for name in objects}, indent=0))
    found = {"bucket": release.facts("s3://tuneoff/old", read)}
    server.stop()
    return found


KINDS: dict[str, Callable[[Release, Path], dict[str, Any]]] = {
    "keras": keras,
    "died": died,
    "table": table,
    "in-flight": in_flight,
    "system": system,
    "katib": katib,
    "bucket": bucket,
}


# Keeping


def facts(release: Release, folder: Path, *stores: str) -> dict[str, Any]:
    """What is read of each of these stores, once all that is not kept is deleted."""
    found = {}
    for name in stores:
        strip(folder / name)
        found[name] = release.facts(folder / name, lambda file, store=folder / name: (store / file).read_text())  # type: ignore[misc]
        strip(folder / name)
    return found


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copyfile(source, target)


def strip(out: Path) -> None:
    """Delete all that neither resuming nor reading needs."""
    for file in [p for p in out.rglob("*") if p.is_file()]:
        name = file.relative_to(out).as_posix()
        if not name.startswith(KEPT) or name.endswith(LEFT_OUT):
            file.unlink()
    for folder in sorted((p for p in out.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def anonymous(folder: Path) -> None:
    """Replace the folder's path and the host's name in every text."""
    host = os.uname().nodename
    for file in [p for p in folder.rglob("*") if p.suffix in (".json", ".jsonl", ".yaml")]:
        text = file.read_text().replace(str(folder), PLACEHOLDER)
        text = text.replace(f'"host":"{host}"', '"host":"a-host"').replace(f'\\"host\\":\\"{host}\\"', '\\"host\\":\\"a-host\\"')
        file.write_text(text)


def processor() -> str:
    """The processor's name and a digest of its abilities: on another one, a training may differ in its last digits."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name, flags = (
        next((line.partition(": ")[2] for line in lines if line.startswith(key)), "") for key in ("model name", "flags")
    )
    return f"{name}, {zlib.crc32(flags.encode()):08x}"


def write(release: Release, kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="old-records-") as scratch:
        folder = Path(scratch) / kind
        folder.mkdir()
        expected = KINDS[kind](release, folder)
        written = {"version": release.version, "processor": processor(), "cores": int(CORES), "stores": expected}
        (folder / "expected.json").write_text(json.dumps(written, separators=(",", ":")) + "\n")
        anonymous(folder)
        shutil.rmtree(HERE / kind, ignore_errors=True)
        shutil.copytree(folder, HERE / kind, ignore=shutil.ignore_patterns("__pycache__", "*.md"))


if __name__ == "__main__":
    old = Release(Path(sys.argv[1]), sys.argv[2])
    for chosen in sys.argv[3:] or KINDS:
        write(old, chosen)
        print(chosen, flush=True)
