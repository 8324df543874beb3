"""Tests of README.md and docs/: commands and code run, links are valid, and the tree of output files matches a real run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

import tuneoff
from small import small_npz
from tuneoff.cli.main import main
from tuneoff.core import layout
from tuneoff.core.space import Categorical, Float, Int
from tuneoff.core.store.study_store import MODEL_FILE
from tuneoff.core.study import Study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", *sorted(p for p in DOCS.glob("*.md") if p.name != "index.md"), ROOT / "README.md"]
GUIDES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
RUN = "tuneoff run studies/quickstart.yaml"
SUBMIT = "tuneoff submit studies/quickstart.yaml --host http://127.0.0.1:8888"

NOT_RUN = {
    "make run": "sets up an environment of its own; the study is the shared run",
    "make test": "is what runs this",
    "make bench": "takes most of an hour: tests/test_benchmarks.py",
    ".venv/bin/tuneoff best runs/quickstart": "the page docs/quickstart.md runs it",
    ".venv/bin/tuneoff ui runs/quickstart": "serves until Ctrl-C: tests/inspect/test_ui.py",
    "tuneoff ui runs/quickstart": "serves until Ctrl-C: tests/inspect/test_ui.py",
    "tuneoff plan studies/quickstart.yaml": "trains for a minute: tests/planning/test_plan.py",
    "tuneoff run studies/own-model.yaml": "takes minutes; the shared run trains its model in its space",
    "tuneoff advise --budget 60 --dir runs/quickstart": "the shared run has one method: tests/advice/test_advise.py",
    "optuna-dashboard sqlite:///quickstart-optuna.db": "serves until Ctrl-C: tests/export/test_export.py",
    "tuneoff run studies/own-method.yaml": "takes minutes; tests/methods/test_user_method.py trains its method",
    "tuneoff table build studies/tables/fashion-mnist-14.yaml": "takes hours: tests/tables/test_build.py",
    "make replays": "searches for an hour: tests/study_file/test_table_binding.py, test_advising.py",
    "make findings": "tests/test_written_pages.py",
    "tuneoff run studies/hyperband.yaml": "takes most of an hour; its methods are those of tests/methods/test_hyperband.py",
    "python tools/docs/write_hyperband.py runs/hyperband/report/results.json": "tests/test_written_pages.py",
    "tuneoff run studies/frameworks.yaml": "takes more than an hour",
    f"{SUBMIT} --check": "wants a cluster: tests/doctor/test_doctor_cluster.py",
    f"{SUBMIT} --wait": "wants a cluster: tests/pipelines/test_submit.py",
    "tuneoff run bars.yaml": "as long as the shared run, whose data is like it",
}
"""Commands of the pages that are not run here, with the reason. A test fails if no page has the command any more."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the file named in the line before it (`` `file`: ``)."""

    language: str
    text: str
    file: str | None

    @property
    def commands(self) -> list[tuple[str, int]]:
        """Return each command of a shell block without its comment, and the exit code that the comment gives (default: 0)."""
        found = []
        for line in self.text.splitlines():
            command, _, comment = line.partition("  #")
            code = re.search(r"exit code (\d)", comment)
            if command.strip():
                found.append((command.strip(), int(code[1]) if code else 0))
        return found


def blocks(page: Path) -> list[Block]:
    fence = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(language, text, file or None) for file, language, text in fence.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    return [c for page in PAGES for block in blocks(page) if block.language == "sh" for c, _ in block.commands]


def name(page: Path) -> str:
    return page.name


# The shared run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a reader's folder, in which a small study has replaced the quickstart and has finished."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "studies", folder / "studies", ignore=shutil.ignore_patterns("__pycache__"))
    small_npz(folder / "studies" / "bars.npz", size=12)
    own = yaml.safe_load((ROOT / "studies" / "own-model.yaml").read_text())
    small = {
        "name": "quickstart",
        "datasets": [{"name": "mnist", "path": "bars.npz"}],
        "methods": ["random"],
        "model": own["model"],
        "space": own["space"],
        "budget": {"trials": 2, "epochs_per_trial": 1},
        "evaluation": {"seeds": 1},
    }
    (folder / "studies" / "quickstart.yaml").write_text(yaml.safe_dump(small, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(RUN)], cwd=folder, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command in the reader's folder: `tuneoff` in this process, others in a shell. Returns exit code and output."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")

    def run_one(command: str) -> tuple[int, str]:
        capfd.readouterr()
        first, *arguments = shlex.split(command)
        if first == "tuneoff":
            monkeypatch.setattr(sys, "argv", [first, *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
            code = int(ended.value.code or 0)
        else:
            code = subprocess.run(command, shell=True, check=False).returncode
        return code, "".join(capfd.readouterr())

    before = dict(os.environ)
    yield run_one
    os.environ.clear()
    os.environ.update(before)


# What the pages promise


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_pages_blocks_run_from_its_first_to_its_last(page: Path, run: Run) -> None:
    names: dict[str, Any] = {}
    said = ""
    for block in blocks(page):
        if block.file is not None and (ROOT / block.file).exists():
            assert block.text == (ROOT / block.file).read_text(), f"{block.file} is not as the page shows it"
        elif block.file is not None:
            Path(block.file).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, page.name, "exec"), names)
        elif block.language == "text":
            assert "".join(block.text.split()) in "".join(said.split()), (
                f"the page has {block.text!r}, and the command said {said!r}"
            )
        elif block.language == "sh":
            for command, promised in block.commands:
                if command not in (RUN, *NOT_RUN):
                    code, said = run(command)
                    assert code == promised, f"{command}: {said}"
                    assert "Traceback" not in said


def test_what_is_not_run_is_on_the_pages() -> None:
    assert set(NOT_RUN) - set(commands()) == set()
    assert RUN in commands()


@pytest.mark.parametrize("page", [*PAGES, *sorted((DOCS / "decisions").glob("*.md")), *GUIDES], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def anchors(page: Path) -> list[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_index_names_every_page() -> None:
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert named == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


# Data frames explained


def columns_of(frame: str) -> list[str]:
    """Return the columns of a frame that the page about Python explains."""
    text = (DOCS / "notebook.md").read_text(encoding="utf-8")
    (_, *rows) = next(t for t in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE) if f"columns of `{frame}`" in t).splitlines()
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_page_about_python_explains_every_column_and_no_other(workplace: Path) -> None:
    found = tuneoff.load(workplace / "runs" / "quickstart")
    for frame in ("trials", "curves", "status"):
        columns = {re.sub(r"^hp\..*", "hp.NAME", name) for name in getattr(found, frame).columns}
        assert sorted(columns) == sorted(columns_of(frame)), frame


# What is written where


def tree() -> list[str]:
    (block,) = [b for b in blocks(DOCS / "output.md") if b.language == "tree"]
    return [line.partition(" ")[0] for line in block.text.splitlines()]


def pattern(entry: str) -> re.Pattern[str]:
    """Return the pattern of a tree entry: words in capitals match names, and `…` matches any path below."""
    wild = {"…": ".+"}
    parts = re.split(r"([A-Z]{2,}|…)", entry)
    found = "".join(re.escape(p) if n % 2 == 0 else wild.get(p, r"[^/]+") for n, p in enumerate(parts))
    return re.compile(found)


def test_a_run_leaves_what_the_tree_says_and_nothing_else(workplace: Path) -> None:
    out = workplace / "runs" / "quickstart"
    left = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    entries = tree()
    assert [e for e in entries if not any(pattern(e).fullmatch(name) for name in left)] == []
    assert [name for name in left if not any(pattern(e).fullmatch(name) for e in entries)] == []


def test_what_is_there_at_times_has_the_names_that_the_code_gives_it() -> None:
    text = (DOCS / "output.md").read_text(encoding="utf-8")
    failure = layout.failure("STEP", "DATASET", "METHOD")
    checkpoints = layout.checkpoints("DATASET", "METHOD", 0).replace("seed-0", "seed-SEED")
    model = layout.system("DATASET", "METHOD", 0).replace("seed-0", "seed-SEED") + MODEL_FILE
    for there in (failure, checkpoints, model, layout.STOP):
        assert f"`{there}`" in text


# A study file explained


def fields(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of the model's fields and, recursively, of the models in them."""
    for field, info in model.model_fields.items():
        yield field
        for held in held_models(info.annotation):
            yield from fields(held)


def held_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from held_models(part)


def test_the_study_page_names_every_field() -> None:
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    fences = r"^```\w*\n.*?^```$"
    code = " ".join(re.findall(rf"{fences}|`[^`]+`", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"[a-z_]+", code))
    wanted = {*fields(Study), *(f for kind in (Categorical, Int, Float) for f in fields(kind))} - {"root"}
    assert wanted - named == set()


# The methods


def test_the_page_of_methods_is_that_of_the_registry() -> None:
    written = subprocess.run(
        [sys.executable, "-c", "from write_methods import page; print(page(), end='')"],
        cwd=ROOT / "tools" / "docs",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (DOCS / "methods.md").read_text(encoding="utf-8") == written.stdout, "run make methods-doc"
