"""The builder of a study's models: a module that cannot be loaded is one sentence, which depends on no configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuneoff.core.errors import CellFailed
from tuneoff.objectives.keras.model import builder, paper_cnn

IN_IMAGES = "must be in the images of the steps tuner and evaluator (docs/images.md)"
MODULES = {
    "sound_model": "def build(config, shape, classes): ...\nvalue = 1\n",
    "needing_model": "import no_such_framework\n",
    "unread_model": "def build(:\n",
    "raising_model": "raise ValueError('no <weights>\\nhere.')\n",
    "leaving_model": "import sys\nsys.exit(3)\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_the_builder_is_the_papers_network_or_a_function_of_the_user() -> None:
    assert builder("paper-cnn") is paper_cnn
    assert builder("sound_model:build").__name__ == "build"


@pytest.mark.parametrize(
    ("name", "why", "here", "in_a_pod"),
    [
        ("own_model:build", "'own_model' cannot be imported: No module named 'own_model'",
         "Put it next to the study file, or on PYTHONPATH", f"It {IN_IMAGES}"),
        ("own.models.best:build", "'own.models.best' cannot be imported: No module named 'own'",
         "Put it next to the study file, or on PYTHONPATH", f"It {IN_IMAGES}"),
        ("needing_model:build", "'needing_model' cannot be imported: No module named 'no_such_framework'",
         "Install it, or put it next to the study file", f"It {IN_IMAGES}"),
        ("sound_model:bild", "'sound_model' has no function 'bild'",
         "Name the function that builds the model in `model`", f"The module that has it {IN_IMAGES}"),
        ("sound_model:value", "'sound_model' has no function 'value'",
         "Name the function that builds the model in `model`", f"The module that has it {IN_IMAGES}"),
        ("unread_model:build", "'unread_model' cannot be imported: SyntaxError: invalid syntax (unread_model.py, line 1)",
         "Correct the module", "Correct the module"),
        ("raising_model:build", "'raising_model' cannot be imported: ValueError: no <weights> here", "Correct the module",
         "Correct the module"),
        ("leaving_model:build", "'leaving_model' cannot be imported: SystemExit: 3", "Correct the module", "Correct the module"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_loaded_fails_the_cell_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, why: str, here: str, in_a_pod: str
) -> None:
    with pytest.raises(CellFailed) as failure:
        builder(name)
    assert str(failure.value) == f"The model's module {why}. {here}"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(CellFailed) as failure:
        builder(name)
    assert str(failure.value) == f"The model's module {why}. {in_a_pod}"
