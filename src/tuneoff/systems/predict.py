"""Predict images with a system's kept model: `python -m tuneoff.systems.predict TARGET MODEL_FOLDER IMAGES.npy OUT.npy`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from ..core.runtime.machine import end_with_run


def main(target: str, folder: str, images: str, out: str) -> None:
    """Predict and write the probabilities. `target` names the system's class as "package.module:Class"."""
    end_with_run()
    module, _, name = target.partition(":")
    system = getattr(import_module(module), name)
    np.save(out, np.asarray(system.predict(Path(folder), np.load(images)), dtype=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
