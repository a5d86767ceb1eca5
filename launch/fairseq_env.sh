#!/usr/bin/env bash
# A virtual environment with fairseq 0.12.2, for pretrain.engine=fairseq and for benchmarks against fairseq-train.
#   launch/fairseq_env.sh [folder, default .fairseq]
# Its own one: fairseq's metadata pins Hydra and OmegaConf to versions from before 1.1, which it does not need for masked_lm.
set -euo pipefail
folder=${1:-.fairseq}
${PYTHON:-python3} -m venv "$folder"
pip="$folder/bin/python -m pip install --quiet"
$pip "torch==2.13.0" numpy wheel "setuptools<81" cython
# in its isolated build torch is not seen: with torch its setup compiles extensions that masked_lm does not use, and fails
$pip --no-deps "fairseq==0.12.2"
$pip "hydra-core==1.3.8" bitarray sacrebleu regex cffi tqdm scikit-learn requests
"$folder/bin/python" "$(dirname "$0")/../selfpretrain/interop/fairseq_shim.py" train --help >/dev/null
touch "$folder/installed" # of a build that failed there is an environment, and not this
echo "$folder is ready"
