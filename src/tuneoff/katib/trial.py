"""Train one configuration in a Katib trial and print its metrics, and read the printed lines again.

    TUNEOFF_STUDY='{…}' python -m tuneoff.katib.trial --data /data/mnist --epochs 10 dropout=0.3 activation=relu

prints one line per epoch, in the format that Katib's metrics collector reads by default: a time, then NAME=NUMBER pairs.

    2026-11-25T01:00:00.000Z epoch=3 loss=0.31 accuracy=0.9 val_loss=0.36 val_accuracy=0.89 seconds=12.5
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ..core.errors import CellFailed, StudyError, plain
from ..core.prepared_data import DESCRIPTION, Prepared
from ..core.problem import Checkpoint, Epoch, Proposal, TrainingFailed, Trial
from ..core.runtime.machine import cores
from ..core.space import Categorical, Float, Int, Space, Value
from ..core.store.open import open_store
from ..core.study import ObjectiveSettings, Study
from ..objectives.executor import WorkerDied
from ..objectives.keras.training_worker import Patience, Worker, Workplace
from ..search.loop import not_finite

STUDY = "TUNEOFF_STUDY"
"""Environment variable with the study in JSON. Katib passes a trial's arguments through a shell, which would change JSON."""
SAFE = re.compile(r"[A-Za-z0-9_.,:+@%/-]+")
"""Matches texts that reach a trial unchanged, through a template, a pod's command and a shell."""
COLLECTOR = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
"""Default expression with which Katib's metrics collector reads a line (katib, common/const.go)."""
BAD_INPUT, FAILED = 2, 1
WEIGHTS = "weights-{:06d}.npz"
"""File with a trial's weights in its checkpoint folder, named after the number of epochs trained so far."""


# Values as texts


def text_of(value: Value) -> str:
    """Return a value as the text that Katib writes for it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def config_of(space: Space, texts: Mapping[str, str]) -> dict[str, Value]:
    """Return the configuration with these values, given as texts.

    A float may be off its step grid, because Katib's pbt multiplies it by 0.8 or 1.2.

    Raises:
        StudyError: A name or a value does not belong to the space, or a parameter has no value. The first fault is named.
    """
    unknown = [name for name in texts if name not in list(space)]
    lacking = [name for name in space if name not in texts]
    if unknown or lacking:
        fault = f"{unknown[0]} is not a parameter" if unknown else f"{lacking[0]} has no value"
        raise StudyError(f"The configuration does not fit the search space: {fault}. The parameters are {', '.join(space)}.")
    return {name: _value(name, parameter, texts[name]) for name, parameter in space.items()}


def _value(name: str, parameter: Categorical | Int | Float, text: str) -> Value:
    if isinstance(parameter, Categorical):
        for value in parameter.values:
            if text_of(value) == text:
                return value
        raise StudyError(f"{name} = {text!r} is not one of {', '.join(map(text_of, parameter.values))}.")
    number = _number(text)
    nearest = parameter.nearest(number) if math.isfinite(number) else math.nan
    if abs(nearest - number) <= 1e-9 * max(1.0, abs(number)):  # allow rounding errors such as in 0.1 + 0.2
        return nearest
    if isinstance(parameter, Float) and parameter.low <= number <= parameter.high:
        return number
    kind = "a whole number" if isinstance(parameter, Int) else "a number"
    raise StudyError(f"{name} = {text!r} is not {kind} from {parameter.low:g} to {parameter.high:g} that the space contains.")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


# Epochs as lines


def line_of(epoch: Epoch, seconds: float, now: datetime) -> str:
    """Return an epoch as a line for Katib's collector. Values that are not finite are left out: the collector cannot read them.

    Args:
        epoch: The epoch.
        seconds: Seconds trained so far, this epoch included.
        now: The time of the line, in UTC.
    """
    metrics = {"epoch": epoch.number, **epoch.metrics, "seconds": round(seconds, 3)}
    pairs = " ".join(f"{name}={value:.10g}" for name, value in metrics.items() if math.isfinite(value))
    return f"{now.strftime('%Y-%m-%dT%H:%M:%S.%f')[:-3]}Z {pairs}"


def read_line(line: str) -> dict[str, float]:
    """Return the numbers that Katib's collector would read from a line, by name. If a name occurs twice, the last one counts."""
    pairs = [(name, text) for name, text, *_ in re.findall(COLLECTOR, line)]
    return {name: float(text) for name, text in pairs if not math.isnan(_number(text))}


def read_epochs(lines: Iterator[str] | Sequence[str]) -> tuple[Epoch, ...]:
    """Return the epochs that a trial printed, also after a logger's prefix. If an epoch occurs twice, the later one counts."""
    epochs: dict[int, Epoch] = {}
    before = 0.0
    for line in lines:
        numbers = read_line(line)
        if "epoch" not in numbers or "seconds" not in numbers:
            continue
        number, until = int(numbers.pop("epoch")), numbers.pop("seconds")
        before = before if until >= before else 0.0  # fewer seconds than before: the trial was restarted
        epochs[number] = Epoch(number, numbers, max(0.0, until - before))
        before = until
    return tuple(epochs[number] for number in sorted(epochs))


# Training


def train_one(
    study: Study, data: Path, config: Mapping[str, Value], epochs: int, seed: int, name: str, folder: Path | None
) -> None:
    """Train a configuration, and print a line per epoch.

    Args:
        study: The study, with the model, the training settings and the objective.
        data: Folder with the prepared data set.
        config: The configuration.
        epochs: Number of epochs to train.
        seed: The seed of the search.
        name: The trial's name, from which its random numbers are derived together with the seed.
        folder: Checkpoint folder, or None. Training continues from its newest weights, if any, and leaves new weights there.

    Raises:
        TrainingFailed: The model cannot be built or trained, or the training diverges.
    """
    before = _newest(folder)
    first = 0 if before is None else int(before.stem.rpartition("-")[2])
    number = zlib.crc32(name.encode()) % 2**31  # Katib's trials have names but no numbers
    trial = Trial(number, number, Proposal(dict(config), first + epochs), first)
    kept = None if folder is None else folder / WEIGHTS.format(first + epochs)
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as scratch:
        place = Workplace(data, study.model, study.training, study.objective, cores())
        worker = Worker(place, Path(scratch, "worker.log"), Patience(study.budget.trial_seconds))
        try:
            worker.serve_search(seed)
            print(f"epochs {first + 1} to {first + epochs} on {worker.device}", flush=True)
            _told(worker(trial, Checkpoint(load=before, save=kept)), study.objective)
        except (TrainingFailed, WorkerDied) as error:
            print(Path(scratch, "worker.log").read_text(errors="replace")[-4000:], file=sys.stderr)
            raise TrainingFailed(f"its worker died {error}" if isinstance(error, WorkerDied) else str(error)) from None
        finally:
            worker.close()
    if before is not None and kept is not None and kept.exists():
        before.unlink()


def _told(epochs: Generator[Epoch, None, None], goal: ObjectiveSettings) -> None:
    seconds = 0.0
    with closing(epochs):
        for epoch in epochs:
            seconds += epoch.seconds
            print(line_of(epoch, seconds, datetime.now(UTC)), flush=True)
            if broken := not_finite(epoch, goal.metric):
                raise TrainingFailed(f"diverged: {broken} is not a finite number after epoch {epoch.number}")


def _newest(folder: Path | None) -> Path | None:
    return None if folder is None else max(folder.glob("weights-*.npz"), default=None)


def fetched(place: str, scratch: Path) -> Path:
    """Return the folder of a prepared data set. A data set on S3 is copied to `scratch`, without its test part.

    Raises:
        StudyError: `place` contains no prepared data.
    """
    if "://" not in place:
        return Path(place)
    store = open_store(place.rstrip("/"))
    names = [name for name in store.names("") if "/" not in name and not name.startswith(("x_test", "y_test"))]
    if DESCRIPTION not in names:
        raise StudyError(
            f"{place} contains no prepared data: {DESCRIPTION} is missing. Copy a folder written by data_prep there."
        )
    for name in names:
        store.get(name, scratch / name)
    return scratch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code: 1 if the training failed, 2 if the input is invalid."""
    given = _parser().parse_args(arguments)
    try:
        study = _study(os.environ.get(STUDY))
        config = config_of(study.space, dict(_pair(text) for text in given.values))
        with tempfile.TemporaryDirectory(prefix="tuneoff-data-") as scratch:
            data = fetched(given.data, Path(scratch))
            Prepared.read(data)
            train_one(study, data, config, given.epochs, given.seed, given.trial, given.checkpoint)
    except StudyError as error:
        print(plain(str(error)), file=sys.stderr)
        return BAD_INPUT
    except (TrainingFailed, CellFailed) as error:
        print(plain(str(error)).replace("=", " is "), file=sys.stderr)  # the collector must not read it as a metric
        return FAILED
    return 0


def _study(text: str | None) -> Study:
    try:
        return Study.model_validate_json(text or "")
    except ValidationError as error:
        fault = error.errors()[0]
        field_path = ".".join(str(p) for p in fault["loc"]) or "the whole text"
        raise StudyError(f"{STUDY} does not contain a valid study in JSON: {field_path}: {fault['msg']}.") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise StudyError(f"The argument {text!r} does not have the form NAME=VALUE.")
    return name, value


def _parser() -> argparse.ArgumentParser:
    program = "python -m tuneoff.components.tuner.one"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="prepared data set: a folder, or s3://bucket/prefix")
    parser.add_argument("--epochs", type=int, required=True, help="number of epochs to train")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search")
    parser.add_argument("--trial", default="", help="name of the trial; its random numbers depend on the name and the seed")
    parser.add_argument("--checkpoint", type=Path, help="folder with weights: continue from the newest, and save new ones there")
    parser.add_argument("values", nargs="+", metavar="NAME=VALUE", help="a value for each parameter of the space")
    return parser


if __name__ == "__main__":
    sys.exit(main())
