"""The command line answers at once, prints one sentence per mistake and no traceback, and has reliable exit codes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from made import made_store, made_study
from tuneoff._version import __version__
from tuneoff.cli.main import cli, main
from tuneoff.core import layout
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import StudyResult, read_study
from tuneoff.core.study import Study
from tuneoff.methods.registry import REGISTRY
from tuneoff.tracking import Tracker, tracking_uri

MINIMAL = "name: small\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 4}\n"
HEAVY = ("tensorflow", "keras", "keras_tuner", "skopt", "kfp", "mlflow", "tensorboard", "sklearn", "scipy")
HEAVY += ("matplotlib", "plotly", "pandas", "pyarrow", "boto3", "botocore", "jinja2", "PIL")


@dataclass(frozen=True)
class Answer:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def mistakes(self) -> list[str]:
        """Return the error lines without their prefix; every error line must have the prefix."""
        assert all(line.startswith("tuneoff: ") for line in self.err.splitlines()), self.err
        return [line.removeprefix("tuneoff: ") for line in self.err.splitlines()]


Tuneoff = Callable[..., Answer]


@pytest.fixture
def tuneoff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tuneoff:
    """Return a function that runs the command in this process, in a folder with only small.yaml in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))
    Path("small.yaml").write_text(MINIMAL)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tuneoff", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Answer(int(ended.value.code or 0), out, err)

    return run


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# Help


def commands(group: click.Group, above: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{above}{name}", command))
        if isinstance(command, click.Group):
            found += commands(command, f"{above}{name} ")
    return found


@pytest.mark.parametrize("name", [name for name, _ in commands(cli)])
def test_every_command_has_help(tuneoff: Tuneoff, name: str) -> None:
    command = dict(commands(cli))[name]
    assert command.help
    assert command.help[0].isupper()
    assert "." in command.help
    answer = tuneoff(*name.split(), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: tuneoff {name} ")


def test_help_and_version(tuneoff: Tuneoff) -> None:
    for option in ("--help", "-h"):
        answer = tuneoff(option)
        assert (answer.code, answer.err) == (0, "")
        assert "Exit codes: 0 success" in answer.out
        assert all(name in answer.out for name in cli.commands)
    assert tuneoff("--version") == Answer(0, f"tuneoff, version {__version__}\n", "")
    assert tuneoff().code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("nope", "No such command 'nope'."),
        ("run", "Missing argument 'STUDY'."),
        ("compile small.yaml", "Missing option '-o' / '--output'."),
        ("data fetch", "Missing argument 'NAMES...'."),
        ("validate small.yaml --jsn", "--jsn"),
        ("step prepare small.yaml", "'prepare' is not one of 'data_prep', 'tuner', 'evaluator', 'reporter'."),
        ("ui none", "Directory 'none' does not exist."),
        ("export out", "Missing option '--to'. Choose from:"),
        ("export out --to excel", "'excel' is not one of 'optuna', 'deepcave', 'csv', 'figures'."),
    ],
)
def test_wrong_usage_is_exit_code_2(tuneoff: Tuneoff, arguments: str, sentence: str) -> None:
    answer = tuneoff(*arguments.split())
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.err.startswith("Usage: tuneoff ")


# Mistakes


@pytest.mark.parametrize(
    "command",
    ["validate {}", "run {}", "run {} --out out", "compile {} -o out.yaml", "step data_prep {} --dataset mnist --out out"],
)
def test_a_bad_file_is_a_sentence_per_fault_and_leaves_nothing_behind(tuneoff: Tuneoff, tmp_path: Path, command: str) -> None:
    Path("bad.yaml").write_text(MINIMAL.replace("mnist", "minst").replace("trials", "trails"))
    answer = tuneoff(*command.format("bad.yaml").split())
    assert (answer.code, answer.out) == (2, "")
    first, second = answer.mistakes
    assert first.startswith("bad.yaml:2: datasets[0]: 'minst' is not a built-in data set (did you mean mnist?)")
    assert second.startswith("bad.yaml:4: budget.trails: the field is unknown")
    assert left_behind(tmp_path) == ["bad.yaml", "small.yaml"]


@pytest.mark.parametrize("command", ["validate", "run", "compile -o x.yaml", "step reporter"])
def test_a_missing_file_is_one_sentence(tuneoff: Tuneoff, tmp_path: Path, command: str) -> None:
    answer = tuneoff(*command.split(), "none.yaml")
    assert answer.code == 2
    assert answer.mistakes == [
        "none.yaml: the file cannot be read: No such file or directory; give the path of a study file (YAML)"
    ]
    assert left_behind(tmp_path) == ["small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("step tuner small.yaml", "The step tuner requires --dataset and --method."),
        ("step evaluator small.yaml --dataset mnist", "The step evaluator requires --method."),
        ("step data_prep small.yaml", "The step data_prep requires --dataset."),
        ("step data_prep small.yaml --dataset minst", "--dataset 'minst' is not in the study: choose mnist."),
        ("step tuner small.yaml --dataset mnist --method grid", "--method 'grid' is not in the study: choose random."),
        (
            "step tuner small.yaml --dataset mnist --method random",
            "runs/small/prepared/mnist holds no prepared data. Run `tuneoff step data_prep small.yaml --dataset mnist` first.",
        ),
        (
            "step evaluator small.yaml --dataset mnist --method random --data elsewhere",
            "elsewhere holds no prepared data. Run `tuneoff step data_prep small.yaml --dataset mnist` first.",
        ),
        (
            "data fetch minst",
            "'minst' is not a built-in data set (did you mean mnist?). Use one of mnist, fashion_mnist, cifar10, or give an .npz",
        ),
        ("data fetch mnist svhn", "'svhn' is not a built-in data set. Use one of mnist, fashion_mnist, cifar10, or give an .npz"),
        (
            "compile small.yaml -o pipeline.json",
            "--output 'pipeline.json' is not allowed: give a file name that ends in .yaml, as KFP requires.",
        ),
        ("compile small.yaml -o small.yaml/pipeline.yaml", "small.yaml: File exists."),
        ("run small.yaml --out small.yaml", "{}/small.yaml: File exists."),
        ("export empty --to csv", "{}/empty holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
        ("report empty", "{}/empty holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
        ("sync empty", "{}/empty holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
        ("report none", "{}/none holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
        ("report small.yaml", "{}/small.yaml holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
        ("report https://me:pw@host/x", "'https://host/x' is no place for artifacts: give a folder or s3://bucket/prefix."),
        ("sync s3://", "'s3://' is no S3 place: give s3://bucket/prefix, without credentials."),
        ("ui empty", "{}/empty holds no study: study.json is missing. Give the folder that `tuneoff run` wrote."),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tuneoff: Tuneoff, tmp_path: Path, arguments: str, sentence: str) -> None:
    Path("empty").mkdir()
    answer = tuneoff(*arguments.split())
    assert answer.code == 2
    (said,) = answer.mistakes
    assert said.startswith(sentence.format(tmp_path))
    assert left_behind(tmp_path) == ["empty", "small.yaml"]
    assert left_behind(tmp_path / "empty") == []


def test_a_data_set_on_this_machine_cannot_go_to_a_cluster(tuneoff: Tuneoff, tmp_path: Path) -> None:
    import numpy as np

    np.savez("mine.npz", x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 0, 1, 1]))
    Path("mine.yaml").write_text(MINIMAL.replace("mnist", "mine.npz"))
    answer = tuneoff("compile", "mine.yaml", "-o", "sub/pipeline.yaml")
    assert answer.code == 2
    assert answer.mistakes == [
        f"mine.yaml: the data set '{tmp_path}/mine.npz' is on this machine, where the cluster cannot read it. Give an s3:// URI,"
        " or a path on the cluster's volume (cluster.volume). `tuneoff submit` copies the file if artifacts is an s3:// URI."
    ]
    assert left_behind(tmp_path) == ["mine.npz", "mine.yaml", "small.yaml"]


def test_what_is_not_installed_is_named_with_the_remedy(tuneoff: Tuneoff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kfp.compiler", None)
    answer = tuneoff("compile", "small.yaml", "-o", "pipeline.yaml")
    assert answer.code == 2
    (sentence,) = answer.mistakes
    assert "kfp.compiler" in sentence
    assert "pip install 'tuneoff[pipeline]'" in sentence


# Answers


def test_validate_says_what_the_study_will_do(tuneoff: Tuneoff) -> None:
    assert tuneoff("validate", "small.yaml") == Answer(0, "small.yaml is valid: 1 data set × 1 method × 1 seed.\n", "")
    Path("more.yaml").write_text(MINIMAL.replace("[mnist]", "[mnist, cifar10]").replace("[random]", "[grid, random]"))
    answer = tuneoff("validate", "more.yaml")
    assert answer.out.splitlines() == [
        "Note: grid: 4 trials cover only the first corner of a grid of 2880 points."
        " With settings: {order: shuffled} they are drawn from the whole grid.",
        "more.yaml is valid: 2 data sets × 2 methods × 1 seed.",
    ]


def test_validate_in_json(tuneoff: Tuneoff) -> None:
    assert json.loads(tuneoff("validate", "small.yaml", "--json").out) == {"valid": True, "faults": [], "warnings": []}
    Path("bad.yaml").write_text(MINIMAL.replace("trials: 4", "trials: 0"))
    answer = tuneoff("validate", "bad.yaml", "--json")
    assert (answer.code, answer.err) == (2, "")
    (fault,) = json.loads(answer.out)["faults"]
    assert fault == {
        "file": "bad.yaml",
        "line": 4,
        "field": "budget.trials",
        "message": "0 is not allowed: it must be at least 1",
    }


def test_methods_and_data_sets_are_listed(tuneoff: Tuneoff) -> None:
    lines = tuneoff("methods").out.splitlines()
    assert [line.split()[0] for line in lines] == list(REGISTRY)
    listed = json.loads(tuneoff("methods", "--json").out)
    assert [m["name"] for m in listed] == list(REGISTRY)
    assert listed[0]["settings"]["order"]["default"] == "sklearn"
    (tuneoff_mnist, *_) = tuneoff("datasets").out.splitlines()
    assert tuneoff_mnist == "mnist          MNIST, images 28×28 [not fetched yet: tuneoff data fetch mnist]"
    assert {d["name"]: d["cached"] for d in json.loads(tuneoff("datasets", "--json").out)} == dict.fromkeys(
        ("mnist", "fashion_mnist", "cifar10"), False
    )


def test_a_method_that_is_not_installed_says_how_it_would_be(tuneoff: Tuneoff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lines = tuneoff("methods").out.splitlines()
    assert all("[not installed: " in line and "pip install 'tuneoff[" in line for line in lines)


def test_schema_is_a_json_schema(tuneoff: Tuneoff) -> None:
    found = json.loads(tuneoff("schema").out)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["title"] == "Tuneoff study"


def test_compile_writes_the_pipeline_and_prints_its_name(tuneoff: Tuneoff, tmp_path: Path) -> None:
    answer = tuneoff("compile", "small.yaml", "-o", "sub/folder/pipeline.yaml")
    assert answer == Answer(0, "sub/folder/pipeline.yaml\n", "")
    assert (
        "pipelineInfo:\n  description: Tuneoff study small\n  name: tuneoff-small\n"
        in Path("sub/folder/pipeline.yaml").read_text()
    )


# Running and looking back


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[[Study], None]:
    """Replace the runner: `tuneoff run` gets the record of a study that has already been run."""

    def prepare(study: Study) -> None:
        def run(plan: Study, out: Path, *others: Any, **more: Any) -> StudyResult:
            store = made_store(out, study)
            store.write(f"{layout.REPORT}report.html", b"<html></html>")
            return read_study(store)

        monkeypatch.setattr("tuneoff.pipelines.local.run", run)

    return prepare


def test_a_run_that_went_well_is_exit_code_0_and_names_its_report(tuneoff: Tuneoff, ran: Any) -> None:
    ran(made_study(datasets=["mnist"], methods=["random"]))
    answer = tuneoff("run", "small.yaml")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "Study small: 1 data set × 1 method × 1 seed, into runs/small"
    assert answer.out.splitlines()[-1] == "Report: runs/small/report/report.html"
    assert answer.err == ""


def test_a_failed_cell_is_a_sentence_and_exit_code_1(tuneoff: Tuneoff, ran: Any) -> None:
    ran(made_study())
    answer = tuneoff("run", "small.yaml", "--out", "elsewhere")
    sentence = "fashion_mnist/hyperband: tuner failed: RuntimeError: the oven <script>alert(1)</script> is cold"
    assert answer.code == 1
    assert answer.mistakes == [sentence]
    answer = tuneoff("run", "small.yaml", "--json", "--out", "once-more")
    assert answer.code == 1
    assert json.loads(answer.out) == {
        "study": "small",
        "store": "once-more",
        "report": "once-more/report/report.html",
        "failed": [sentence],
        "stopped": False,
    }


def test_a_folder_of_another_study_is_left_alone(tuneoff: Tuneoff, tmp_path: Path) -> None:
    made_store(tmp_path / "out", made_study(datasets=["mnist"], methods=["random"], seeds=[0]))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    answer = tuneoff("run", "small.yaml", "--out", "out")
    assert answer.code == 2
    (sentence,) = answer.mistakes
    assert sentence == (
        f'{tmp_path}/out holds another study: name was "made" and is "small"; budget.trials was 8 and is 4;'
        " budget.epochs_per_trial was 9 and is 10. Give another --out (on a cluster, another place in artifacts),"
        " or the study file that it was begun with:"
        " more budget, seeds, methods and data sets extend it."
    )
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_an_interrupted_run_says_how_to_go_on(tuneoff: Tuneoff, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuneoff.pipelines.local.run", interrupted)
    answer = tuneoff("run", "small.yaml")
    assert answer.code == 1
    assert "Interrupted. The finished epochs are on record. Run the same command again to continue." in answer.err


def test_report_and_sync_answer_in_json_and_in_words(tuneoff: Tuneoff, tmp_path: Path) -> None:
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    made_store(tmp_path / "out", study)
    answer = tuneoff("report", "out", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["report"] == "out/report/report.html"
    assert Path(found["report"]).is_file()
    assert all(isinstance(v, float | int) for v in found["metrics"].values())
    answer = tuneoff("sync", "out", "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == {"trials": 8, "event_files": 8, "evaluations": 1, "searches": 1}
    assert tuneoff("sync", "out").out == "Sent 0 trials and 0 evaluations; wrote 0 event files.\n"
    store = FolderStore(tmp_path / "out")
    result = read_study(store)
    (cell,) = result.cells
    tracker = Tracker(store, study, result.id, tracking_uri(study, store.uri))
    tracker.deliver(cell.cell, [replace(search, ended=None) for search in cell.searches])
    answer = tuneoff("sync", "out")
    assert answer.out == "Sent 0 trials and 0 evaluations; wrote 0 event files. Marked 1 search as ended.\n"


@pytest.mark.parametrize("uri", ["http://me:pw@127.0.0.1:9", "nonsense://x"])
def test_a_tracking_server_that_cannot_be_used_is_one_sentence(
    tuneoff: Tuneoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made_store(tmp_path / "out", made_study(datasets=["mnist"], methods=["random"], seeds=[0]))
    answer = tuneoff("sync", "out", "--tracking-uri", uri)
    assert answer.code == 2
    sentence = next(s for s in answer.err.splitlines() if s.startswith("tuneoff: "))
    assert sentence.startswith("tuneoff: out: the tracking server cannot be used (")
    assert "pw" not in answer.err


# Lightness

LIGHT = {
    "--help": ["--help"],
    "validate": ["validate", "small.yaml"],
    "methods": ["methods"],
    "datasets": ["datasets"],
    "schema": ["schema"],
    "a bad file": ["run", "none.yaml"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("light")
    (place / "small.yaml").write_text(MINIMAL)
    return place


def installed(folder: Path) -> dict[str, str]:
    """Return an environment in which modules keep their byte code, as installed modules do."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "TUNEOFF_CACHE": str(folder / "cache")}


@pytest.mark.parametrize("arguments", LIGHT.values(), ids=LIGHT)
def test_a_light_command_imports_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    script = (
        "import sys\nfrom tuneoff.cli.main import main\n"
        f"sys.argv = ['tuneoff', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', sorted({set(HEAVY)!r} & {{m.partition('.')[0] for m in sys.modules}}))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=installed(folder), capture_output=True, text=True, timeout=800, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    "arguments", [LIGHT["--help"], LIGHT["validate"], LIGHT["methods"]], ids=["--help", "validate", "methods"]
)
def test_a_light_command_answers_in_half_a_second(folder: Path, arguments: list[str]) -> None:
    """Take the least processor time of six runs, so that a busy machine does not fail the test. The first writes byte code."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tuneoff", *arguments]
        subprocess.run(command, cwd=folder, env=installed(folder), capture_output=True, timeout=800, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(once() for _ in range(6)) < 0.5
