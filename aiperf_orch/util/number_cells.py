"""Form of numbers in the cells of CSV tables: as Python writes them, and in no other way.

`int` and `float` also read other alphabets' digits, underscores, signs, spaces and leading zeros.
"""

from __future__ import annotations

import re
from typing import Final

_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,399})")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,17}(\.[0-9]{1,40})?(e[-+][0-9]{2,3})?")


def is_whole(cell: str) -> bool:
    """Whether a cell is a whole number as `str` writes an int."""
    return _WHOLE.fullmatch(cell) is not None and cell != "-0"


def is_decimal(cell: str) -> bool:
    """Whether a cell is a finite number as `repr` writes a float."""
    return _DECIMAL.fullmatch(cell) is not None and repr(float(cell)) == cell
