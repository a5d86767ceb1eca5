#!/usr/bin/env bash
# One study on a Ray cluster whose machines share the folder of the runs: RAY_ADDRESS, or a cluster of this machine.
#   RAY_ADDRESS=<host>:6379 launch/ray.sh study=paper_table_roberta
#   launch/ray.sh study=quickstart hydra.launcher.task.num_gpus=0
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
exec selfpretrain study "$@" hydra/launcher=ray
