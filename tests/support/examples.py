"""Study files for tests: the smallest, one with every field, and the wording that no user should ever read."""

from __future__ import annotations

import re

MINIMAL = """\
name: small
datasets: [mnist]
methods: [random]
budget: {trials: 4}
"""

FULL = """\
name: full
datasets:
  - mnist
  - {name: fashion_mnist, subset: {train: 100, validation: 50, test: 60}, image_size: 14}
  - name: mine
    path: mine.npz
  - s3://bucket/data/theirs.npz
methods:
  - random
  - name: grid
    label: shuffled-grid
    settings: {order: shuffled}
  - {name: bayes, settings: {acq_func: LCB, n_initial_points: 5, kappa: 2}}
  - {name: hyperband, settings: {factor: 3, hyperband_iterations: 1}}
budget:
  trials: 20
  epochs: 120
  seconds: 3600
  trial_seconds: 600
  epochs_per_trial: 9
seeds: [0, 1, 2]
model: mymodel:build
space:
  optimizer: {type: categorical, values: [SGD, Adam, on, 16, 0.5, true]}
  momentum: {type: float, low: 0.0, high: 0.9, step: 0.1, when: {optimizer: [SGD, true, 16]}}
  learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true, grid_points: 4}
  filters: {type: int, low: 16, high: 64, step: 16}
  neurons: {type: int, low: 8, high: 64, log: true, grid_points: 3, when: {filters: [16, 32]}}
  nesterov: {type: categorical, values: [yes, no], when: {momentum: [0.9]}}
objective: {metric: val_loss, direction: min, epoch: last}
split: {validation: 0.25, test: 0.1, folds: 5, seed: 3}
training: {batch_size: 64, precision: bfloat16}
evaluation: {seeds: 2}
resources: {cpu: "2", memory: 8Gi, gpu: 1, gpu_type: amd.com/gpu, workers: 2, retries: 2, hang_seconds: 600, cache: false,
  steps: {tuner: {cpu: "1", memory: 1Gi, gpu: 0, retries: 0}}}
tracking: {uri: "https://mlflow.example.org", experiment: mine}
artifacts: s3://bucket/runs/full
cluster:
  namespace: bakeoffs
  service_account: tuneoff
  node_selector: {example.org/pool: batch}
  tolerations: [{key: batch, operator: Equal, value: "yes", effect: NoExecute, seconds: 60}]
  steps: {evaluator: {node_selector: {pool: gpu}, tolerations: [{key: gpu, operator: Exists}], timeout_seconds: 86400}}
  volume: {claim: results, mount: /results}
  env: {AWS_ENDPOINT_URL: "http://s3.storage:9000"}
  secrets: {s3-keys: {AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret}}
  images: {prefix: registry.example.org/team, tag: 0.1.0, digests: {tuner-gpu: "sha256:DIGEST"}, pull_policy: Always,
    pull_secrets: [registry], names: {reporter: "registry.example.org/mine/reporter:2"}}
  backoff: {seconds: 10, factor: 1.5, longest_seconds: 600}
  timeout_seconds: 7200
  pending_seconds: 600
  deadline_seconds: 604800
  ttl_seconds: 86400
  run_as_non_root: false
noise: {configurations: 5, seeds: [1, 2]}
""".replace("DIGEST", "ab" * 32)

LIBRARY_WORDING = re.compile(
    r"pydantic|Input should|Field required|Extra inputs|[Vv]alue.error|(?<!gpu)_type\b|_parsing|For further|errors\.|Traceback"
)
