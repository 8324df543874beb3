"""data_prep as a KFP component."""

from kfp import dsl

from tuneoff.core.runtime.images import image


@dsl.component(base_image=image("data_prep"), install_kfp_package=False)
def data_prep(
    study: str,
    dataset: str,
    store: str,
    tracking: str,
    version: str,
    checksum: str,
    prepared: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Load, check, scale, resize and split one data set. KFP's cache also looks at tuneoff's version and the data's checksum."""
    from tuneoff.components.data_prep.step import run

    prepared.metadata.update(run(study, dataset, store, prepared.path, summary.path, tracking))
