"""Checked kinds of text in the section `scheduler`: names, lists of names, amounts of memory, and lines of code."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

from aiperf_orch.settings.base import Checked, Unit, matching


def _code_line(line: str) -> str:
    if "\n" in line or "\r" in line or "\0" in line:
        raise ValueError("must be one line")
    return line


_CODE_LINE: Final = Checked(_code_line, r"^[^\n\r\x00]*$")
_NAME_START: Final = "begins with a letter, a digit or _"

Word = Annotated[
    str,
    Field(max_length=120),
    matching(r"[A-Za-z0-9_][A-Za-z0-9_.:@+/-]*", f"one name of letters, digits and _ . : @ + / - that {_NAME_START}"),
]
"""A name that a scheduler knows: no white space, no quotes, no leading dash."""

Words = Annotated[
    str,
    Field(max_length=500),
    matching(
        r"[A-Za-z0-9_][A-Za-z0-9_.:@+/,-]*",
        f"names of letters, digits and _ . : @ + / - with commas and no blanks between them; the first {_NAME_START}",
    ),
]
"""Names with commas between them."""

Expression = Annotated[
    str,
    Field(max_length=500),
    matching(
        r"[A-Za-z0-9_(\[!][A-Za-z0-9_.:@+/,&|!*()\[\]-]*",
        "names with commas, brackets and the operators & | ! * between them, without blanks and quotes",
    ),
]
"""A constraint, or a list of nodes, in the scheduler's language."""

Chunk = Annotated[
    str,
    Field(max_length=500),
    matching(r"[A-Za-z0-9_][A-Za-z0-9_.:=@+/,-]*", "NAME=VALUE parts with colons and no blanks between them"),
]
"""Resources of a node in PBS's language: `model=milan:bigmem=True`."""

Remark = Annotated[
    str,
    Field(max_length=200),
    _CODE_LINE,
    matching(r"""[^'"\\`$]+""", "text without quotes, backslashes, backquotes and dollar signs"),
]
"""Free text in a directive: no quotes, no backslash."""

_LARGE: Final = 4096  # a number without a unit from here on is no number of gigabytes
_AMOUNT: Final = re.compile(r"([1-9][0-9]{0,8}) ?([KMGTkmgt])(?:[Ii]?[Bb])?")  # of 1024 bytes, also as GB


def _slurm_memory(text: str) -> str:
    amount = _AMOUNT.fullmatch(text.strip())
    if text.strip() != "0" and not amount:
        raise ValueError(
            "must be a whole number with the unit K, M, G or T, or 0 for all that a node has, "
            f"not {text!r:.60}{_with_units(text, 'G', 'M')}"
        )
    return f"{amount[1]}{amount[2].upper()}" if amount else "0"


def _pbs_memory(text: str) -> str:
    amount = _AMOUNT.fullmatch(text.strip())
    if not amount:
        raise ValueError(
            f"must be a whole number with the unit kb, mb, gb or tb, not {text!r:.60}{_with_units(text, 'gb', 'mb')}"
        )
    return f"{amount[1]}{amount[2].lower()}b"


def _with_units(text: str, *units: str) -> str:
    """What a number without a unit may mean, as part of a message."""
    number = text.strip()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        return ""
    likely = units if int(number) < _LARGE else units[-1:]
    return f"; did you mean {' or '.join(number + unit for unit in likely)}?"


Memory = Annotated[
    str, Checked(_slurm_memory, rf"^\s*(0|{_AMOUNT.pattern})\s*$"), Unit("written with it: K, M, G or T")
]
"""An amount of memory, as 64G; 0 is all that a node has. `64GB`, `64 G` and `64GiB` are the same."""

PbsMemory = Annotated[
    str, Checked(_pbs_memory, rf"^\s*{_AMOUNT.pattern}\s*$"), Unit("written with it: kb, mb, gb or tb")
]
"""An amount of memory as PBS writes it: 64gb. `64G`, `64 GB` and `64GiB` are the same."""

CodeLine = Annotated[str, _CODE_LINE, Field(max_length=4000)]
