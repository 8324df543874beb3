"""What is installed: a wheel of the checkout and a wheel of the source distribution hold the same files."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(source: Path, target: str, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (file,) = out.iterdir()
    return file


def test_a_wheel_of_the_source_distribution_holds_what_a_wheel_of_the_checkout_holds(tmp_path: Path) -> None:
    names = zipfile.ZipFile(build(ROOT, "wheel", tmp_path / "wheel")).namelist()
    assert len(names) == len(set(names))
    assert {"tuneoff/components/tuner/component.py", "tuneoff/components/tuner/metadata.yaml"} <= set(names)
    assert {"tuneoff/cli/main.py", "tuneoff/pipelines/bakeoff.py"} <= set(names)
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("tuneoff-*")
    again = zipfile.ZipFile(build(unpacked, "wheel", tmp_path / "again")).namelist()
    assert sorted(again) == sorted(names)
