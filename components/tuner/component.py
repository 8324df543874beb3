"""The tuner as a KFP component."""

from kfp import dsl

from tuneoff.core.runtime.images import image


@dsl.component(base_image=image("tuner"), install_kfp_package=False)
def tune(
    dataset: str,
    method: str,
    store: str,
    tracking: str,
    prepared: dsl.Input[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Search with one method on one data set, with each of the study's seeds."""
    from tuneoff.components.core.artifacts import kept_study
    from tuneoff.components.tuner.step import run

    study = kept_study(prepared.path)
    metrics.metadata.update(run(study, dataset, method, store, tracking, prepared.path, record.path, summary.path))
