"""The evaluator as a KFP component."""

from kfp import dsl

from tuneoff.core.runtime.images import image


@dsl.component(base_image=image("evaluator"), install_kfp_package=False)
def evaluate(
    dataset: str,
    method: str,
    store: str,
    tracking: str,
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Retrain the incumbent on train + validation and score the test images once."""
    from tuneoff.components.core.artifacts import kept_study
    from tuneoff.components.evaluator.step import run

    found = run(kept_study(prepared.path), dataset, method, store, tracking, prepared.path, model.path, summary.path)
    if not found:  # the study was asked to stop
        return
    metrics.metadata.update(found["metrics"])
    if found["classes"]:
        confusion.log_confusion_matrix(found["classes"], found["confusion"])
