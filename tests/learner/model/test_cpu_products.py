"""Fast products where the processor has them, and none where it does not say so."""

from pathlib import Path
from typing import Any

import pytest
import torch

import learner.model.cpu_products as cpu_products
from learner.model.cpu_products import multiplies_bfloat16, use_fast_products


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse avx2 avx512_bf16 gfni\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu sse avx2\n", False),
        ("", False),
    ],
)
def test_the_processor_is_asked(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") is has


def test_a_system_that_names_nothing_has_none(tmp_path: Path) -> None:
    assert not multiplies_bfloat16(tmp_path / "absent")


def test_products_stay_near_those_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    onednn: Any = torch.backends.mkldnn
    before = onednn.matmul.fp32_precision
    monkeypatch.setattr(cpu_products, "multiplies_bfloat16", lambda: True)
    torch.manual_seed(0)
    a, b = torch.randn(64, 256), torch.randn(128, 256)
    try:
        if not use_fast_products():
            pytest.skip("torch was built without oneDNN")
        product = a @ b.T
    finally:
        onednn.matmul.fp32_precision = before
    true = a.double() @ b.double().T
    assert (product - true).abs().mean() < 2**-8 * true.abs().mean()  # bfloat16 has eight bits
    monkeypatch.setattr(cpu_products, "multiplies_bfloat16", lambda: False)
    assert not use_fast_products()
    assert onednn.matmul.fp32_precision == before
