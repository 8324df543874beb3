"""Small data sets, an empty cache for each test, and fakes of the programs and packages that download."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REAL_CACHE = os.environ.get("TUNEOFF_CACHE")

Arrays = dict[str, np.ndarray]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fetch: fetches a whole built-in data set, from a cache or the network")


def images(count: int, classes: int, shape: tuple[int, ...] = (8, 8), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noise images whose first pixel depends on the class, with labels. Class sizes differ by at most one."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % classes)
    pixels = random.integers(0, 256, (count, *shape)).astype(np.uint8)
    pixels[:, 0, 0] = (labels * 20).reshape(-1, *(1 for _ in shape[2:]))
    return pixels, labels.astype(np.uint8)


@pytest.fixture
def arrays() -> Arrays:
    """A small valid data set: 200 training and 60 test images, 8 × 8, four classes."""
    x_train, y_train = images(200, 4, seed=1)
    x_test, y_test = images(60, 4, seed=2)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write arrays as an .npz; keyword arguments replace arrays, and None omits an array."""

    def write(arrays: Arrays, **changes: Any) -> Path:
        path = tmp_path / "mine.npz"
        np.savez(path, **{n: a for n, a in {**arrays, **changes}.items() if a is not None})
        return path

    return write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that is the only source of data sets."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TUNEOFF_CACHE", str(folder))
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras-home"))
    monkeypatch.setenv("NO_PROXY", "*")
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache for whole data sets: TUNEOFF_CACHE if it was set, or else a folder of this test session."""
    return Path(REAL_CACHE) if REAL_CACHE else tmp_path_factory.mktemp("datasets")
