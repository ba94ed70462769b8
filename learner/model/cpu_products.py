"""The fastest products of float32 matrices that a processor has.

oneDNN may round factors to bfloat16 where the processor multiplies that; sums stay float32. On AVX-512 it takes
kernels that round nothing and are faster than those of torch's default library on AMD processors.
"""

from pathlib import Path
from typing import Any

import torch

FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM, as Linux names them


def use_fast_products() -> bool:
    """Let this process's float32 products take bfloat16 factors where the processor multiplies them; return whether."""
    if not (multiplies_bfloat16() and torch.backends.mkldnn.is_available()):
        return False
    onednn: Any = torch.backends.mkldnn
    onednn.matmul.fp32_precision = "bf16"
    return True


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has instructions that multiply bfloat16, as far as the system names them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(FLAGS & set(flags.split()))
