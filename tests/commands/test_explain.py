"""`explain`: facts of each setting, where a site file sets it, and what is near an unknown key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiperf_orch.commands.explain import explain_key
from aiperf_orch.settings.base import ADVANCED
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.setting_facts import all_settings
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit
Site = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(tmp_path)  # its path is short, so that no line is wrapped at another place

    def write(text: str) -> Path:
        path = Path("site.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _explain(key: str, site: Path | None = None) -> str:
    return explain_key(key, site).text


def test_a_setting_is_explained_with_type_unit_and_default() -> None:
    assert _explain("campaign.duration") == (
        "campaign.duration\n"
        "  duration of the campaign, from the begin of its first trial\n"
        "  type      duration\n"
        "  unit      written with it: 90s, 12h, 1h30m, 1-12:00:00 (days first)\n"
        "  default   12h\n"
        "  change    `aiperf-orch set` may change it; it takes effect on the controller, from its next step\n"
        "            on\n"
        "  example\n"
        "    campaign:\n"
        "      duration: 12h\n"
    )


def test_schedulers_with_other_defaults_are_explained_one_by_one() -> None:
    shown = _explain("poll_interval")
    assert "scheduler.advanced.poll_interval  (local)\n" in shown
    assert "  default   1s\n" in shown
    assert "scheduler.advanced.poll_interval  (slurm, pbs, agents)\n" in shown
    assert "  default   5s\n" in shown


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("campaign.duration", "campaign:\n  duration: 2h\n", "site.yaml:2: 2h"),
        ("scheduler.memory", "scheduler:\n  kind: slurm\n\n  memory: 64G\n", "site.yaml:4: 64G"),
        ("poll_interval", "scheduler:\n  advanced:\n    poll_interval: 9s\n", "site.yaml:3: 9s"),
        ("scheduler.poll_interval", "scheduler:\n  poll_interval: 9s\n", "site.yaml:2: 9s"),
        ("search.batch_size", "search:\n  batch_size: [8, 16]\n", "site.yaml:2: [8, 16]"),
        ("training.simulated.failure_rate", "training: {simulated: {failure_rate: 0.1}}\n", "site.yaml:1: 0.1"),
        ("campaign.max_trials", "campaign:\n  max_trials: null\n", "site.yaml:2: null"),
        ("campaign.seed", "campaign:\n  duration: 2h\n", "not in "),
        # errors of the site file, also in this setting, are those of `check`
        ("campaign.duration", "campaign:\n  duration: soon\nnonsense: 1\n", "site.yaml:2: soon"),
    ],
)
def test_the_place_in_a_site_file_is_named(site: Site, key: str, text: str, expected: str) -> None:
    path = site(text)
    [line] = [line for line in _explain(key, path).splitlines() if line.startswith("  set ")]
    assert line.removeprefix("  set       ").startswith(expected)


def test_with_a_site_file_only_its_scheduler_is_explained(site: Site) -> None:
    path = site("scheduler: {kind: PBS}\n")
    assert "(slurm)" not in _explain("memory", path)
    assert "(pbs)" in _explain("memory", path)
    listed = _explain("scheduler", path)
    assert "scheduler.queue" in listed
    assert "scheduler.partition" not in listed
    assert f"not in {path}, whose scheduler.kind is pbs" in " ".join(_explain("partition", path).split())


@pytest.mark.parametrize("section", SiteSettings.model_fields)
def test_a_section_lists_each_of_its_keys(section: str) -> None:
    lines = {line.partition("  ")[0] for line in _explain(section).splitlines() if line[:1] != " "}
    assert lines == {facts.written_key for facts in all_settings() if facts.key.startswith(f"{section}.")}


def test_a_listed_key_says_where_it_is_set(site: Site) -> None:
    path = site("campaign:\n  seed: 7\n")
    listed = _explain("campaign", path)
    assert f"campaign.seed\n    set by {path}:2: 7\n" in listed
    assert "campaign.concurrency\n    default 2\n" in listed


@pytest.mark.parametrize("key", ["allocations", "scheduler.allocations", "training.advanced.simulated"])
def test_a_part_is_explained_with_its_keys(key: str) -> None:
    shown = _explain(key)
    assert "  type      part with keys\n" in shown
    inside = "scheduler.allocations.at_once" if "allocations" in key else "training.advanced.simulated.epoch_seconds"
    assert f"\n{inside}" in shown


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("campaign.duratoin", "did you mean campaign.duration?"),
        ("partiton", "did you mean scheduler.partition?"),
        ("network.partition", "did you mean scheduler.partition?"),
        ("campain", "did you mean campaign?"),
        ("gpus_per_nod", "did you mean scheduler.gpus_per_node or "),
        ("xyzzy", "the sections are system, scheduler, campaign, data, network, search, training"),
        ("", "the sections are system, "),
        ("advanced", "the sections are system, "),
    ],
)
def test_an_unknown_key_names_the_nearest_ones(key: str, advice: str) -> None:
    with pytest.raises(UsageError) as raised:
        explain_key(key, None)
    assert str(raised.value).startswith(f"{key}: unknown key; {advice}")


@pytest.mark.parametrize("key", sorted({facts.key for facts in all_settings()}))
def test_each_setting_has_an_example_at_its_place(key: str) -> None:
    for part in _explain(key).split("\n\n"):
        example = part.partition("\n  example\n")[2]
        value: Any = yaml.safe_load(example)
        for name in part.split()[0].split("."):
            assert example == "" or list(value) == [name]
            value = value[name] if example else None
        assert example or part.split()[0].startswith(("scheduler.allocations.", f"training.{ADVANCED}.simulated."))


def test_each_key_of_each_model_has_facts() -> None:
    keys = {facts.key for facts in all_settings()}
    for kind, model in SCHEDULERS.items():
        of_kind = {facts.key for facts in all_settings() if kind in facts.kinds}
        assert {f"scheduler.{key}" for key in model.model_fields} <= of_kind
    for section, field in SiteSettings.model_fields.items():
        if section != "scheduler":
            model_of_section: Any = field.annotation
            assert {f"{section}.{key}" for key in model_of_section.model_fields} <= keys


def test_explain_as_a_command(aiperf: Any) -> None:
    done = aiperf("explain", "network.max_memory")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  unit      GiB\n" in done.stdout
    wrong = aiperf("explain", "max_memroy")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "unknown key; did you mean network.max_memory?" in wrong.stderr
