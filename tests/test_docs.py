"""Documents name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_DOCUMENTS = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_PATH = re.compile(
    r"`((?:[\w-]+/)+[\w.*-]+\.(?:py|j2|json|jsonl|md|yaml)|(?:aiperf_orch|tests|docs|benchmarks)/[\w/-]*)`"
)
_OF_A_CAMPAIGN = ("events/", "trials/", "jobs/", "weights/")


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_paths_in_a_document_exist(document: Path) -> None:
    for name in _PATH.findall(document.read_text(encoding="utf-8")):
        if name.startswith(_OF_A_CAMPAIGN):
            continue
        folders = (_ROOT, _ROOT / "aiperf_orch", _ROOT / "aiperf_orch" / "schedulers", document.parent)
        assert any([*folder.glob(name)] for folder in folders), f"{document.name}: {name} does not exist"


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_in_a_document_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target} does not exist"
