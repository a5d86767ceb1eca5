#!/usr/bin/env bash
# One study on Slurm: this job submits the others, an array for what is ready together, and waits for them. What differs between
# stages is hydra.sweeper.resources.<stage>.<setting>; settings of the launcher are those of submitit.
#   sbatch launch/slurm.sh study=paper_table_roberta hydra.launcher.partition=gpu study.cells_per_job=10
# or, on a machine that submits jobs: launch/slurm.sh study=...
#SBATCH --job-name=selfpretrain-study
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
selfpretrain study "$@" hydra/launcher=slurm &
study=$!
trap 'kill -TERM $study' TERM
wait $study
code=$?
if ((code > 128)); then # the trap came first: it saves, and then ends
    wait $study
    code=$?
fi
# stopped near the limit: queue this job again, which goes on where the others are by then
if ((code == 75)) && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
