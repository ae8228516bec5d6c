"""Readers of what the programs of vendors of accelerators print."""

from __future__ import annotations

from typing import Final

from aiperf_orch.trial.telemetry.ascend import read_table
from fuzz.reader import Reader, of_text

# the maker's example, hiascend.com, "npu-smi info"
_TABLE: Final = b"""
| npu-smi 23.0.rc3                                   Version: 23.0.rc3                                   |
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
| 0       310B1                 | OK              | 10.4          66                15    / 15           |
| 0       0                     | NA              | 0            957   / 10810                           |
"""

READERS: Final = (Reader("npu-smi", of_text(read_table), lambda: (_TABLE,), allowed=(ValueError,)),)
