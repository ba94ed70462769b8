#!/bin/sh
# All that wants a GPU, in one call from the repository's root: sh bench/gpu.sh
# Makes a virtual environment with a CUDA build of torch unless PYTHON names one that has it, runs the tests marked `gpu`, then the measurements.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv .venv-gpu
    PYTHON=.venv-gpu/bin/python
    "$PYTHON" -m pip install -q -e clients/python -e ".[test]"
fi
"$PYTHON" -c 'import torch, sys; sys.exit(0 if torch.cuda.is_available() else "torch sees no GPU; set PYTHON to an interpreter with a CUDA build")'
"$PYTHON" -m pytest -q -m gpu tests
"$PYTHON" -m bench.adapters --device cuda --precision bfloat16 --layers 28 --width 1024
"$PYTHON" -m bench.gpu "$@"
