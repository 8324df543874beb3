"""Readers of YAML that disagree about plain scalars: PyYAML (YAML 1.1), ruamel.yaml (YAML 1.2), and kubectl (Go)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

KUBECTL = Path(sys.executable).with_name("kubectl")


def yaml_1_1(text: str) -> list[Any]:
    """Return the documents as PyYAML reads them."""
    return list(yaml.safe_load_all(text))


def yaml_1_2(text: str) -> list[Any]:
    """Return the documents as ruamel.yaml reads them."""
    return list(YAML(typ="safe", pure=True).load_all(text))


READERS: Mapping[str, Callable[[str], list[Any]]] = {"YAML 1.1": yaml_1_1, "YAML 1.2": yaml_1_2}


def go(text: str) -> Any:
    """Return a manifest as kubectl reads it; skip the test if kubectl is not installed.

    `kubectl annotate --local` asks no server. It adds one annotation, which is removed again.
    """
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed: make setup")
    command = [str(KUBECTL), "annotate", "--local", "--filename", "-", "--output", "json", "read-by=kubectl"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    annotations = manifest["metadata"].pop("annotations")
    del annotations["read-by"]
    if annotations:
        manifest["metadata"]["annotations"] = annotations
    return manifest
