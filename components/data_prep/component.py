"""data_prep as a KFP component."""

from kfp import dsl

from ..core.image import image


@dsl.component(base_image=image("data_prep"), install_kfp_package=False)
def data_prep(study: str, dataset: str, store: str, prepared: dsl.Output[dsl.Dataset], summary: dsl.Output[dsl.Markdown]) -> None:
    """Load, check, scale, resize and split one data set."""
    from tuneoff.components.data_prep.step import run

    prepared.metadata.update(run(study, dataset, store, prepared.path, summary.path))
