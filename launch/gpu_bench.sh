#!/usr/bin/env bash
# Every benchmark of a GPU, and ten minutes of pretraining ELECTRA-small; one table at the end. Nothing is downloaded.
#   pip install -e '.[bench]' && launch/gpu_bench.sh
#   TOY=1 DEVICE=cpu launch/gpu_bench.sh      a rehearsal with tiny models; its numbers mean nothing
# RESULTS is the folder of the table, RUNS that of the token files, MINUTES the length of the pretraining.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
device=${DEVICE:-cuda} results=${RESULTS:-$root/benchmarks/results} minutes=${MINUTES:-10}
modes=(false true)
options=(device="$device" results_dir="$results" runs_dir="${RUNS:-runs}")
if [[ ${TOY:-0} == 1 ]]; then
    options+=(toy=true processes=false repeats=1 seconds=0.02)
    modes=(false)
    minutes=0.001
fi
python=${PYTHON:-python}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

bench() {
    echo "== $*" >&2
    "$python" -m benchmarks "$@" "${options[@]}" >/dev/null
}

for compile in "${modes[@]}"; do
    bench pretrain compile="$compile"
    bench finetune compile="$compile"
done
bench seeds
bench sustained minutes="$minutes" compile="${modes[-1]}"
cat "$results/$("$python" -c "from benchmarks.record import name_machine; print(name_machine('$device')[1])").md"
