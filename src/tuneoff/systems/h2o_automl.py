"""H2O AutoML on flattened images: a Java server on loopback during the search. The models of its leaderboard are the trials."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ..core.prepared_data import load_part
from ..core.space import Model
from ..methods.spec import MethodSpec
from .protocol import Probabilities, SystemTrial, Work, plain_config, scored, scores

START_SECONDS = 120.0
LABEL = "label"
_GUARD = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdin.read()
server.kill()
"""
"""A guard that ends the server when the process that started it has ended in any way: its pipe closes then."""


class H2oSettings(Model):
    """H2O's arguments of these names with its defaults, except the memory and the cross-validation, which the split replaces."""

    exclude_algos: list[str] | None = Field(default=None, description="Such as DeepLearning, StackedEnsemble, XGBoost.")
    memory_gb: int = Field(default=4, ge=1, le=512, description="The Java server's heap.")


class H2o:
    """One run of H2OAutoML. Its models are read from the leaderboard when it has ended."""

    Settings = H2oSettings
    spec = MethodSpec(
        name="h2o-automl",
        summary="Trains models of its own: boosted trees, forests, linear models and networks on flat images, by H2O AutoML.",
        source="LeDell and Poirier, H2O AutoML: scalable automatic machine learning, AutoML workshop at ICML 2020",
        when="As flaml, with Java at hand; its ensembles need cross-validation and are left out.",
        framework="h2o",
        package="h2o",
        program="java",
        extra="h2o",
        kind="system",
    )

    def __init__(self, settings: H2oSettings) -> None:
        self._settings = settings
        self._models: list[str] = []

    def run(self, work: Work) -> Iterator[SystemTrial]:
        from h2o.automl import H2OAutoML, get_leaderboard

        began = time.monotonic()
        self._server = _server(self._settings.memory_gb, work.threads, work.folder)
        h2o = self._server.__enter__()
        frames = {part: _labelled(h2o, work.data, part) for part in ("train", "validation")}
        automl = H2OAutoML(
            max_runtime_secs=max(1, int(work.seconds - (time.monotonic() - began))),
            seed=work.seed,
            nfolds=0,
            sort_metric="logloss" if work.goal.metric == "val_loss" else "mean_per_class_error",
            exclude_algos=self._settings.exclude_algos,
            verbosity=None,
        )
        automl.train(
            y=LABEL,
            training_frame=frames["train"],
            validation_frame=frames["validation"],
            leaderboard_frame=frames["validation"],
        )
        labels = load_part(work.data, "validation")[1]
        rows = get_leaderboard(automl, extra_columns="ALL").as_data_frame(use_multi_thread=False).to_dict("records")
        for row in sorted(rows, key=lambda row: row["model_id"]):
            yield self._trial(h2o, row, frames["validation"], labels)

    def _trial(self, h2o: Any, row: dict[str, Any], frame: Any, labels: Any) -> SystemTrial:
        model = h2o.get_model(row["model_id"])
        self._models.append(row["model_id"])
        accuracy, loss = scores(_probabilities(model.predict(frame)), labels)
        chosen = {name: value["actual"] for name, value in model.params.items() if value["actual"] != value["default"]}
        own = {name: value for name, value in chosen.items() if not isinstance(value, dict | list) and "frame" not in name}
        config = {"algo": row["algo"], **{k: v for k, v in own.items() if k not in ("model_id", "response_column")}}
        seconds = float(row["training_time_ms"]) / 1000
        return SystemTrial(plain_config(config), scored({"val_accuracy": accuracy, "val_loss": loss}, seconds), seconds)

    def save(self, trial: int, folder: Path) -> None:
        import h2o

        h2o.save_model(h2o.get_model(self._models[trial]), path=str(folder), force=True, filename="model")
        self._server.__exit__(None, None, None)

    @staticmethod
    def predict(folder: Path, images: Any) -> Probabilities:
        with tempfile.TemporaryDirectory(prefix="tuneoff-") as scratch, _server(2, 1, Path(scratch)) as h2o:
            model = h2o.load_model(str(folder / "model"))
            return _probabilities(model.predict(_frame(h2o, np.asarray(images))))


@contextmanager
def _server(memory_gb: int, threads: int, folder: Path) -> Iterator[Any]:
    """Yield the module h2o, connected to its own server. The server ends with this block, at the latest with this process."""
    import h2o
    from h2o.backend.server import H2OLocalServer

    java = shutil.which("java")
    if java is None:
        raise FileNotFoundError("H2O needs Java, and no program java is found in PATH: install Java 17 or newer")
    os.environ["DO_NOT_TRACK"] = "1"
    port = _free_ports()
    jar = H2OLocalServer()._find_jar()
    where = ["-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port", str(port), "-name", f"tuneoff-{os.getpid()}-{port}"]
    options = ["-nthreads", str(threads), "-ice_root", str(folder), "-log_dir", str(folder), "-log_level", "ERRR"]
    quiet = ["-Dsys.ai.h2o.telemetry.disabled=true", f"-Djava.io.tmpdir={folder}"]
    command = [java, f"-Xmx{memory_gb}g", *quiet, "-jar", str(jar), *where, *options, "-allow_unsupported_java"]
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, *command], stdin=subprocess.PIPE)
    try:
        _wait(guard, port)
        connection = h2o.connect(url=f"http://127.0.0.1:{port}", verbose=False, strict_version_check=False)
        h2o.no_progress()
        try:
            yield h2o
        finally:
            connection.close()
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def _wait(guard: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and guard.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"H2O's server has not started within {START_SECONDS:g} s; what it said is in this log")


def _free_ports() -> int:
    """Return a free port. H2O uses it and the next one."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise OSError("no two free ports side by side on 127.0.0.1")


def _labelled(h2o: Any, data: Path, part: Any) -> Any:
    x, y = load_part(data, part)
    frame = _frame(h2o, np.asarray(x), np.asarray(y))
    frame[LABEL] = frame[LABEL].asfactor()
    return frame


def _frame(h2o: Any, images: Any, labels: Any = None) -> Any:
    """Return pixels (and labels) as an H2O frame. It is uploaded as a CSV file, as h2o does it, but with given column types."""
    pixels = images.reshape(len(images), -1)
    names = [f"p{i}" for i in range(pixels.shape[1])]
    if labels is not None:
        pixels, names = np.column_stack([pixels, labels]), [*names, LABEL]
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as folder:
        file = Path(folder, "images.csv")
        np.savetxt(file, pixels, fmt="%.7g", delimiter=",", header=",".join(names), comments="")
        return h2o.upload_file(str(file), col_types=["numeric"] * len(names))


def _probabilities(prediction: Any) -> Probabilities:
    """Return the probabilities by label from H2O's columns predict, p0, p1, …"""
    table = prediction.as_data_frame(use_multi_thread=False)
    columns: Sequence[str] = sorted((c for c in table.columns if c != "predict"), key=lambda c: int(c.removeprefix("p")))
    return np.asarray(table[list(columns)], dtype=float)
