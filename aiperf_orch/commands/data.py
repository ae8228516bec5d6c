"""`data`: packing of an image tree, in a process that replaces this one, because nothing here imports the trial."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NoReturn

from aiperf_orch.commands.trial import become

_MODULE: Final = "aiperf_orch.trial.data.packing_command"


def pack_tree(source: Path, target: Path) -> NoReturn:
    """Pack an image tree; does not return."""
    become(sys.executable, [_MODULE, "pack", "--", str(source), str(target)])


def verify_packed(target: Path, against: Path | None) -> NoReturn:
    """Verify a packed folder, alone or against a tree; does not return."""
    compared = [] if against is None else [f"--against={against}"]
    become(sys.executable, [_MODULE, "verify", *compared, "--", str(target)])
