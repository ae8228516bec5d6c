"""Versions of PyTorch that trials can use."""

from __future__ import annotations

import pytest

from aiperf_orch.util.torch_extra import version_fault

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("2.6.0", False),
        ("2.5.1+cu124", False),
        ("1.13.1", False),
        ("2.7.0", True),
        ("2.7.0a0+nv25.03", True),
        ("2.14.1", True),
        ("2.15.0a0+nv26.6", True),
        ("2.8.0+cu128", True),
        ("10.0", True),
        ("built here", True),  # unknown: the trial shows whether it can be used
    ],
)
def test_torch_is_usable_from_2_7_on(version: str, usable: bool) -> None:
    fault = version_fault(version)
    assert fault == ("" if usable else f"torch {version} is too old: trials need 2.7 or later")
