#!/usr/bin/env bash
# One study on several cores: as many processes as cores, one thread each, sharing the cells by their locks.
# Small models gain more from whole cells side by side than from threads within a step.
#   SELFPRETRAIN_DATA=<mirror> launch/share_cores.sh study=agnews_cpu
set -uo pipefail
workers=${WORKERS:-$(nproc)}
trap 'kill $(jobs -p) 2>/dev/null' INT TERM # a shell's background jobs do not hear Ctrl-C; told to end, they save
mkdir -p runs
for i in $(seq 2 "$workers"); do
    selfpretrain study "$@" runtime.num_threads=1 runtime.progress=false >"runs/share_cores.$i.log" 2>&1 &
done
selfpretrain study "$@" runtime.num_threads=1
code=$?
wait
exit $code
