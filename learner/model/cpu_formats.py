"""Whether this processor multiplies bfloat16 matrices itself; others convert each number, which is slower."""

from pathlib import Path

FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM, as Linux names them


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has instructions that multiply bfloat16, as far as the system names them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(FLAGS & set(flags.split()))
