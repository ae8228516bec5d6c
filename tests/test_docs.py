"""Documents name files and sections that exist; their lines are short. The reference: `documentation/`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from aiperf_orch.settings.models import SiteSettings

_ROOT = Path(__file__).parents[1]
_DOCUMENTS = [
    *(_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "contrib/README.md")),
    *sorted((_ROOT / "docs").rglob("*.md")),
]
_USER_DOCUMENTS = [path for path in _DOCUMENTS if not {"CONTRIBUTING.md", "development", "research"} & {*path.parts}]
_PATH = re.compile(
    r"`((?:[\w-]+/)+[\w.*-]+\.(?:py|j2|json|jsonl|md|yaml)|(?:aiperf_orch|tests|docs|benchmarks)/[\w/-]*)`"
)
_OF_A_CAMPAIGN = ("CAMPAIGN/", "events/", "trials/", "jobs/", "weights/")


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


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_in_a_document_lead_to_headings(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        linked = document.parent / target if target else document
        assert anchor in _anchors(linked), f"{document.name}: {target}#{anchor} does not exist"


@pytest.mark.unit
@pytest.mark.parametrize("document", _USER_DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_lines_outside_of_tables_have_at_most_120_columns(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


@pytest.mark.unit
def test_the_values_of_the_paper_are_settings() -> None:
    document = (_ROOT / "docs/benchmark/differences.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    settings = SiteSettings.model_validate(yaml.safe_load(block))
    assert settings.search.beta == 2.576
    assert settings.search.neighbours == 8
    assert settings.search.kernel_sizes == [3, 5, 7]
    assert settings.search.max_dropout == 0.2
    assert settings.search.tpe_from_round == 3
    assert settings.network.max_layers == 300
    assert settings.network.seed == "resnet50"


@pytest.mark.unit
def test_the_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def _anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as code-hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
