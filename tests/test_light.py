"""The light core: what `pip install tuneoff` alone gives, tried in a process that cannot import any extra's packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from made import made_store, made_study
from tuneoff.core.runtime.extras import EXTRAS, remedy

ROOT = Path(__file__).parents[1]
HIDDEN = sorted({package for packages in EXTRAS.values() for package in packages} - {"PIL"})  # matplotlib brings Pillow
SCRIPT = f"""
import contextlib, io, json, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
from tuneoff.cli.main import main
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["tuneoff", *arguments.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""
WORKING = (
    "validate small.yaml",
    "plan small.yaml --no-probe",
    "init new.yaml",
    "validate new.yaml",
    "status out",
    "trials out",
    "trials out --format csv",
    "best out",
    "report out",
    "export out --to csv",
    "export out --to deepcave",
    "export out --to figures --format svg",
    "methods",
    "datasets",
    "schema",
    "doctor",
    "completion",
)
REFUSED = {
    "katib small.yaml": "tuneoff[katib]",
    "run small.yaml": "tuneoff[pipeline,data,cpu,tracking,keras-tuner]",
    "plan small.yaml": "tuneoff[pipeline,data,cpu,tracking,keras-tuner]",
    "compile small.yaml -o pipeline.yaml": "tuneoff[pipeline]",
    "submit small.yaml --host http://127.0.0.1:9": "tuneoff[pipeline]",
    "sync out": "tuneoff[tracking]",
    "export out --to optuna": "tuneoff[export]",
    "report s3://bucket/x": "tuneoff[s3]",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """What each command did: exit code, output, errors."""
    folder = tmp_path_factory.mktemp("light")
    made_store(folder / "out", made_study(datasets=["mnist"], methods=["random"]))
    text = "name: small\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 4}\ncluster: {volume: {claim: results}}\n"
    (folder / "small.yaml").write_text(text)
    commands = [*WORKING, *REFUSED]
    run = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=800, check=False)
    assert not done.returncode, done.stderr
    return dict(zip(commands, map(tuple, json.loads(done.stdout)), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", WORKING)
def test_a_light_command_needs_no_extra(answers: dict[str, tuple[int, str, str]], command: str) -> None:
    code, out, err = answers[command]
    assert code == 0, err
    assert out
    assert "Traceback" not in err


def test_the_report_says_what_it_leaves_out(answers: dict[str, tuple[int, str, str]]) -> None:
    _, _, err = answers["report out"]
    assert "Parquet" in err
    assert "importance" in err
    assert "statistics" in err
    assert err.count("pip install 'tuneoff[report]'") == 3


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_missing_is_said_with_the_extra_that_brings_it(answers: dict[str, tuple[int, str, str]], command: str) -> None:
    code, _, err = answers[command]
    assert code == 2
    assert f"pip install '{REFUSED[command]}'" in err.splitlines()[-1]


DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "skopt": "scikit-optimize", "keras_tuner": "keras-tuner"}
DISTRIBUTIONS |= {"tensorflow": "tensorflow-cpu", "botocore": "boto3", "bayes_opt": "bayesian-optimization"}
DISTRIBUTIONS |= {"syne_tune": "syne-tune", "huggingface_hub": "huggingface-hub", "ax": "ax-platform"}
DISTRIBUTIONS |= {"vizier": "google-vizier", "neps": "neural-pipeline-search", "kubeflow_katib_api": "kubeflow-katib-api"}


def test_the_table_of_extras_is_that_of_the_project_file() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(listed) - {"gpu", "all", "dev", "check", "docs"}
    for extra, packages in EXTRAS.items():
        brought = {re.split(r"[=<>\[]", requirement)[0] for requirement in listed[extra]}
        assert {DISTRIBUTIONS.get(p, p) for p in packages} <= brought, extra
    assert remedy("mlflow.tracking") == "pip install 'tuneoff[tracking]'"
    assert remedy("nobody_knows") == remedy(None) == "pip install 'tuneoff[all]'"


def test_bash_completes_commands_options_and_study_files(tmp_path: Path) -> None:
    """Sources the script as a user would, and asks bash's own completion function."""
    (tmp_path / "one.yaml").touch()
    (tmp_path / "other.txt").touch()
    launcher = tmp_path / "bin" / "tuneoff"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuneoff "$@"\n')
    launcher.chmod(0o755)
    script = """
    PATH="$PWD/bin:$PATH"; source <(tuneoff completion bash)
    ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _tuneoff_completion tuneoff; echo "${COMPREPLY[*]}"; }
    ask tuneoff val; ask tuneoff validate o; ask tuneoff init --method sklearn-h; ask tuneoff init --data fash
    complete -p tuneoff
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False)
    assert done.stdout.splitlines()[:4] == ["validate", "one.yaml", "sklearn-halving", "fashion_mnist"], done.stderr
    assert "_tuneoff_completion tuneoff" in done.stdout.splitlines()[4]
