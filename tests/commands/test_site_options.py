"""The resolved settings as `run --dry-run` and others list them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiperf_orch.commands.site_options import describe
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.site_document import Override

pytestmark = pytest.mark.unit


def test_listed_settings_show_their_part_and_are_a_site_file(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("scheduler:\n  kind: slurm\n  partition: gpu\n  lookahead: 3\n")
    loaded = load_site(site, [Override.parse("scheduler.advanced.poll_interval=7s")])
    text = describe(loaded)
    assert f"\n  partition: gpu  # {site}:3\n" in text
    assert f"\n    lookahead: 3  # {site}:4\n" in text
    assert "\n    poll_interval: 7s  # --set scheduler.advanced.poll_interval\n" in text
    assert text.index("  advanced:\n", text.index("scheduler:")) < text.index("    lookahead:")
    again = tmp_path / "again.yaml"
    again.write_text(text)
    assert load_site(again).settings == loaded.settings
