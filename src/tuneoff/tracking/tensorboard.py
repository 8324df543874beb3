"""TensorBoard's view of the record: one event file per trial, with its curves and its row of the HParams table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from ..core import layout
from ..core.metrics import ACCURACY, LOSS, VAL_ACCURACY, VAL_LOSS, names_of
from ..core.problem import Status
from ..core.record.state import SearchRecord, TrialRecord
from ..core.space import Categorical, Space, Value
from ..core.store.protocol import Store
from ..core.store.study_store import StudyResult
from ..core.study import Study
from .trial_facts import begun, ended, epoch_ends, objective_of, trial_name

METRICS = ("objective", *names_of((VAL_ACCURACY, VAL_LOSS, ACCURACY, LOSS)))
"""Metric columns of the HParams table: the objective that counted for the trial, then the values at its last epoch."""

FLOAT32_MAX = 3.4e38
"""Scalars are float32. Larger values and NaN are omitted."""

MANY_SEEDS = 10
"""With more seeds than this, the table offers a range of seeds instead of one check box per seed."""


def write_tensorboard(store: Store, study: Study, study_id: str, search: SearchRecord, already: set[str]) -> int:
    """Write the event files of the search's ended trials that are not in `already`, and add their names to it.

    The name and the bytes of a file depend only on the record, so writing it again is harmless.

    Returns:
        The number of trials written.
    """
    wanted = [(layout.tensorboard_run(search.dataset, search.method, search.seed, t.trial.id), t) for t in search.told]
    new = [(name, trial) for name, trial in wanted if name not in already]
    declared = experiment_name(search.dataset)
    if new and declared not in already:
        store.write(declared, experiment_events(study))
        already.add(declared)
    for name, trial in new:
        store.write(name, trial_events(study, study_id, search, trial))
        already.add(name)
    return len(new)


def written(store: Store, dataset: str) -> set[str]:
    """Return the names of the data set's event files in the store."""
    return set(store.names(f"{layout.TENSORBOARD}{dataset}/"))


def sync_tensorboard(store: Store, result: StudyResult) -> int:
    """Write all event files that the store lacks. Return the number of trials written."""
    already: set[str] = set()
    for dataset in result.study.datasets:
        already |= written(store, dataset.name)
    searches = (search for cell in result.cells for search in cell.searches)
    return sum(write_tensorboard(store, result.study, result.id, search, already) for search in searches)


def experiment_name(dataset: str) -> str:
    """Return the name of the event file that declares the columns of a data set's HParams table."""
    return f"{layout.TENSORBOARD}{dataset}/events.out.tfevents.0.tuneoff"


def experiment_events(study: Study) -> bytes:
    """Return the event file that declares the HParams table: columns for hyperparameters, method, seed, data set, metrics."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    columns = [_own_column(name, values) for name, values in _own_domains(study).items()]
    columns += [_column(name, parameter) for name, parameter in study.space.items()]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=_title(study, tag)) for tag in METRICS]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    return _file(0.0, [(0.0, 0, [_hparams_value(metadata.EXPERIMENT_TAG, content)])])


def trial_events(study: Study, study_id: str, search: SearchRecord, record: TrialRecord) -> bytes:
    """Return the event file of one ended trial.

    Each trial has its own session group, because TensorBoard averages the sessions of a group. Inactive hyperparameters and
    metrics that are not finite are omitted.
    """
    outcome = record.trial.outcome
    assert outcome is not None
    start, end = begun(record), ended(record)
    events: list[tuple[float, int, list[Any]]] = [(start, 0, [_session_start(study, study_id, search, record)])]
    for epoch, time in zip(record.curve, epoch_ends(record), strict=True):
        scalars = [_scalar(tag, value) for tag, value in sorted(epoch.metrics.items()) if abs(value) <= FLOAT32_MAX]
        events.append((time, epoch.number, scalars))
    last = record.curve[-1].number if record.curve else record.trial.first_epoch
    objective = objective_of(study, outcome)
    events.append((end, last, [] if objective is None else [_scalar("objective", objective)]))
    events.append((end, last, [_session_end(outcome.status, end)]))
    return _file(start, events)


def _own_domains(study: Study) -> dict[str, list[Value]]:
    """Return the columns that Tuneoff adds, with names that no hyperparameter has. `dataset` only if there are several."""
    domains: dict[str, list[Value]] = {
        "method": [m.label for m in study.methods],
        "seed": list(study.seeds),
        "dataset": [d.name for d in study.datasets],
    }
    if len(study.datasets) == 1:
        del domains["dataset"]
    return {_own_name(name, study.space): values for name, values in domains.items()}


def _own_name(name: str, space: Space) -> str:
    return f"tuneoff.{name}" if name in space.root else name


def _own_column(name: str, values: list[Value]) -> Any:
    numbers = [float(v) for v in values if isinstance(v, int)]
    column = _interval(name, min(numbers), max(numbers)) if len(numbers) > MANY_SEEDS else _discrete(name, values)
    column.differs = len(values) > 1  # such columns come first in the table, which shows only five by default
    return column


def _column(name: str, parameter: Any) -> Any:
    if isinstance(parameter, Categorical):
        return _discrete(name, [_cell(parameter, v) for v in parameter.values])
    return _interval(name, float(parameter.low), float(parameter.high))


def _discrete(name: str, values: Iterable[Value]) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    first, *rest = values
    kind = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}.get(type(first), api_pb2.DATA_TYPE_FLOAT64)
    column = api_pb2.HParamInfo(name=name, type=kind)
    column.domain_discrete.extend([first, *rest])
    return column


def _interval(name: str, low: float, high: float) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    column = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64)
    column.domain_interval.min_value, column.domain_interval.max_value = low, high
    return column


def _cell(parameter: Any, value: Value) -> Value:
    """Convert a value for its column. A column has one type, so categories of several types become JSON text."""
    if not isinstance(parameter, Categorical):
        return value
    kinds = {float if type(v) is int else type(v) for v in parameter.values}
    return value if len(kinds) == 1 else json.dumps(value)


def _title(study: Study, tag: str) -> str:
    if tag != "objective":
        return f"last {tag}"
    return f"{study.objective.epoch} {study.objective.metric}"


def _session_start(study: Study, study_id: str, search: SearchRecord, record: TrialRecord) -> Any:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    own: dict[str, Value] = {"method": search.method, "seed": search.seed, "dataset": search.dataset}
    named = {_own_name(name, study.space): value for name, value in own.items()}
    values = {name: value for name, value in named.items() if name in _own_domains(study)}
    for name, value in record.trial.proposal.config.items():
        values[name] = _cell(study.space[name], value) if name in study.space.root else value
    group = f"{trial_name(search, record.trial.id)} {study_id}"
    info = plugin_data_pb2.SessionStartInfo(group_name=group, start_time_secs=begun(record))
    for name, value in values.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    return _hparams_value(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))


def _session_end(status: Status, end: float) -> Any:
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    well = status in (Status.COMPLETED, Status.STOPPED)
    info = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE, end_time_secs=end)
    return _hparams_value(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=info))


def _hparams_value(tag: str, content: Any) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata

    described = metadata.create_summary_metadata(content)
    content.version = metadata.PLUGIN_DATA_VERSION
    # Maps have no fixed order by default, but a rebuilt file must have the same bytes.
    described.plugin_data.content = content.SerializeToString(deterministic=True)
    return summary_pb2.Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorboard.plugins.scalar import metadata

    described = metadata.create_summary_metadata(display_name=None, description=None)
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=tensor_shape_pb2.TensorShapeProto(), float_val=[value])
    return summary_pb2.Summary.Value(tag=tag, metadata=described, tensor=tensor)


def _file(start: float, events: Iterable[tuple[float, int, list[Any]]]) -> bytes:
    """Return the bytes of an event file. Events are (wall time in seconds, step, values); empty ones are omitted."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    writer.write(event_pb2.Event(wall_time=start, file_version="brain.Event:2").SerializeToString())
    for time, step, values in events:
        if values:
            event = event_pb2.Event(wall_time=time, step=step, summary=summary_pb2.Summary(value=values))
            writer.write(event.SerializeToString())
    return buffer.getvalue()
