"""The reporter as a KFP component: the pipeline's exit task, so that it also runs where a cell failed."""

from kfp import dsl

from tuneoff.core.runtime.images import image


@dsl.component(base_image=image("reporter"), install_kfp_package=False)
def report(
    study: str,
    store: str,
    tracking: str,
    status: dsl.PipelineTaskFinalStatus,
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Write the report of all that the store holds."""
    from tuneoff.components.reporter.step import run

    metrics.metadata.update(run(study, store, tracking, page.path, summary.path))
