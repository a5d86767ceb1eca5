#!/usr/bin/env bash
# One study on the GPUs of this machine, a process for each; small models share one better: study.seeds_per_process=5.
#   launch/several_gpus.sh study=paper_table_roberta
#   launch/several_gpus.sh study=paper_table_roberta 'hydra.launcher.gpus=[0,2]'
# A model that needs several GPUs for one training: selfpretrain study study=... runtime.num_processes=4
set -euo pipefail
exec selfpretrain study "$@" hydra/launcher=local_gpus
