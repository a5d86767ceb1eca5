#!/usr/bin/env bash
# One study on several cores: as many processes as cores, one thread each, sharing the cells by their locks.
# Small models gain more from whole cells side by side than from threads within a step.
#   SELFPRETRAIN_DATA=<mirror> launch/share_cores.sh study=agnews_cpu
set -uo pipefail
workers=${WORKERS:-$(nproc)}
stop() { # a shell's background jobs hear neither Ctrl-C nor the shell's own end; told to end, they save
    kill $(jobs -p) 2>/dev/null
    wait
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 75' TERM # to be continued, as a training's own code says
mkdir -p runs
selfpretrain study "$@" runtime.num_threads=1 &
first=$!
for i in $(seq 2 "$workers"); do
    selfpretrain study "$@" runtime.num_threads=1 runtime.progress=false >"runs/share_cores.$i.log" 2>&1 &
done
wait "$first"
code=$?
wait
exit $code
