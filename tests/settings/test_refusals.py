"""Messages for refused settings: where the setting stands, what is wrong, and an example that would pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from aiperf_orch.settings.loading import LoadedSettings, load_site
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.settings.site_document import Override
from aiperf_orch.settings.yaml_text import parse_yaml
from aiperf_orch.util.errors import UsageError

Load = Callable[..., LoadedSettings]

_COMPANIONS: dict[str, dict[str, Any]] = {
    "gpu_type": {"gpus_per_node": 1},
    "mail_type": {"mail_user": "me@example.org"},
    "pbs.launcher_options": {"launcher": "mpiexec"},
}
_PARTS: dict[str, Any] = {"simulated": {"epoch_seconds": 0.05}, "allocations": {"nodes": 2, "time_limit": "1h"}}
"""Values of settings with keys of their own: what is refused there names one of these keys."""
_WRONG: list[Any] = [
    {"nonsense": 1}, [], [{}], [[]], "", " ", "two\nlines", "it's \"$(x)`", "nonsense value", -1, 0, 1.5, True,
    None, 10**30, "12", 12, "x" * 5000, ["ok", 3, {}], "=1+1", "relative/path",
]  # fmt: skip
_REGEX = re.compile(r"\^\[|\[A-Z|\[a-z|\[0-9|\\[dwsS]|pattern|regex|\{0,\d")


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as a site file, with `--set` assignments."""

    def load(text: str, *assignments: str) -> LoadedSettings:
        (tmp_path / "site.yaml").write_text(text)
        return load_site(tmp_path / "site.yaml", [Override.parse(each) for each in assignments])

    return load


def _settings() -> Iterator[tuple[str, str, str]]:
    """Kind of scheduler, section and key of every setting."""
    for section, field in SiteSettings.model_fields.items():
        if section != "scheduler":
            model = field.annotation
            assert isinstance(model, type)
            assert issubclass(model, BaseModel)
            yield from (("local", section, key) for key in model.model_fields)
    for kind, scheduler in SCHEDULERS.items():
        yield from ((kind, "scheduler", key) for key in scheduler.model_fields if key != "kind")


ALL = list(_settings())


def _text(kind: str, section: str, key: str, value: Any, **more: Any) -> str:
    """A site file with this value in its fourth line."""
    scheduler = f"  kind: {kind}\n" if section == "scheduler" else f"  {{kind: {kind}}}\n"
    sections = "" if section == "scheduler" else f"{section}:\n"
    wanted = f"  {key}: {json.dumps(value)}\n" + "".join(
        f"  {name}: {json.dumps(each)}\n" for name, each in more.items()
    )
    return f"# {section}\nscheduler:\n{scheduler}{sections}{wanted}"


def _line(section: str) -> int:
    return 4 if section == "scheduler" else 5


@pytest.mark.parametrize(("kind", "section", "key"), ALL, ids=lambda part: part)
def test_every_refusal_names_place_reason_and_example(
    load: Load, tmp_path: Path, kind: str, section: str, key: str
) -> None:
    refused = 0
    for wrong in _WRONG:
        try:
            load(_text(kind, section, key, wrong))
        except UsageError as error:
            refused += 1
            [message, *_] = str(error).split("\n")
        else:
            continue
        assert re.match(re.escape(f"{tmp_path}/site.yaml:") + rf"\d+: {section}\.{key}\b", message), message
        assert "for example " in message or "unknown key; " in message, message
        assert not _REGEX.search(message), message
        assert len(message) < 600
    assert refused >= 3  # an object, a list of lists and the like


@pytest.mark.parametrize(("kind", "section", "key"), ALL, ids=lambda part: part)
def test_the_example_of_every_setting_passes(load: Load, kind: str, section: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(_text(kind, section, key, {"nonsense": {}}))
    message = str(caught.value).split("\n")[0]
    name, _, written = message.rpartition("for example ")[2].partition(": ")
    assert name == key or key in _PARTS
    if (kind, key) == ("pbs", "comment"):
        return  # PBS has no comment: the refusal shows project, as another test checks
    companions = _COMPANIONS.get(key, {}) | _COMPANIONS.get(f"{kind}.{key}", {})
    if key == "mail_user" and kind == "slurm":
        companions = {"mail_type": "FAIL"}
    value = _PARTS.get(key) or parse_yaml(written, "example")[0]
    load(_text(kind, section, key, value, **companions))


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_refusal_of_an_option_shows_the_option(load: Load, kind: str) -> None:
    with pytest.raises(UsageError, match=r"for example --set scheduler.poll_interval=\d+s$"):
        load("{}", f"scheduler.kind={kind}", "scheduler.poll_interval=12")


@pytest.mark.parametrize(
    "text",
    [
        "scheduler: {kind: slurm, warn_before: 5h}",
        "scheduler: {kind: slurm, ports: [5000, 4000]}",
        "scheduler: {kind: slurm, gpu_type: a100}",
        "scheduler: {kind: slurm, launcher: none, nodes: 2}",
        "scheduler: {kind: slurm, mail_user: me}",
        "scheduler: {kind: pbs, resources: [nodes=1], memory: 4gb}",
        "scheduler: {kind: pbs, launcher_options: [-v]}",
        "scheduler: {kind: pbs, comment: mine}",
        "search: {batch_size: [64, 32]}",
        "search: {first_batch_size: 1000}",
        "data: {name: imagenet}",
    ],
)
def test_settings_that_contradict_each_other_show_an_example(load: Load, text: str) -> None:
    with pytest.raises(UsageError, match=r"[;,] for example "):
        load(text)


# values whose meaning is clear are accepted


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("account", "1234567", "1234567"),
        ("account", "1_000", "1_000"),
        ("account", "1e3", "1e3"),
        ("partition", "007", "007"),
        ("partition", "0o17", "0o17"),
        ("partition", "0x1F", "0x1F"),
        ("partition", "12:30", "12:30"),
        ("partition", "1.10", "1.10"),
        ("qos", "yes", "yes"),
        ("qos", "no", "no"),
        ("qos", "on", "on"),
        ("qos", "True", "True"),
        ("reservation", "2026-11-30", "2026-11-30"),
        ("gpu_type", "4090", "4090"),
        ("modules", "[cuda/12.4, 1.10]", ["cuda/12.4", "1.10"]),
        ("memory", "0", "0"),
        ("memory", "64GB", "64G"),
        ("memory", "64 G", "64G"),
        ("memory", "64g", "64G"),
        ("memory", "64GiB", "64G"),
        ("memory", "512 mb", "512M"),
        ("time_limit", "2-00", 172800),
        ("time_limit", "1-12:30", 131400),
        ("time_limit", "90 min", 5400),
        ("exclusive", "yes", True),
        ("exclusive", "off", False),
        ("nodes", "'2'", 2),
        ("lookahead", "1_000", 1000),
        ("nodes", "2.0", 2),
        ("launcher", "Srun", "srun"),
    ],
)
def test_a_value_of_the_wrong_type_with_a_clear_meaning_is_read(load: Load, key: str, written: str, value: Any) -> None:
    text = f"scheduler:\n  kind: slurm\n  gpus_per_node: 1\n  {key}: {written}\n"
    assert getattr(load(text).settings.scheduler, key) == value
    again = load("scheduler: {kind: slurm, gpus_per_node: 1}", f"scheduler.{key}={written}")
    assert getattr(again.settings.scheduler, key) == value


def test_a_kind_in_capitals_is_accepted(load: Load) -> None:
    chosen: Any = load("scheduler: {kind: Slurm, account: 007}").settings.scheduler
    assert (chosen.kind, chosen.account) == ("slurm", "007")


@pytest.mark.parametrize(
    ("key", "written", "hint"),
    [
        ("memory", "64", "did you mean 64G or 64M?"),
        ("memory", "1.5T", "for example memory: 64G"),
        ("memory", "-1G", "for example memory: 64G"),
        ("time_limit", "12:00", "did you mean 12h00m or 12m00s?"),
        ("time_limit", "60", "did you mean 60s, 60m or 60h?"),
        ("nodes", "1,000", "for example nodes: 1"),
        ("nodes", "true", "for example nodes: 1"),
        ("exclusive", "1", "for example exclusive: false"),
        ("account", "[a]", "for example account: ai-benchmark"),
        ("account", "a b", "for example account: ai-benchmark"),
    ],
)
def test_an_ambiguous_value_is_refused_with_suggestions(load: Load, key: str, written: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(f"scheduler:\n  kind: slurm\n  {key}: {written}\n")
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"), [("64GB", "64gb"), ("64G", "64gb"), ("64 gb", "64gb"), ("512MiB", "512mb")]
)
def test_memory_of_pbs_may_be_written_with_other_units(load: Load, written: str, value: str) -> None:
    scheduler = load(f"scheduler: {{kind: pbs, memory: {written}}}").settings.scheduler
    assert isinstance(scheduler, PbsSettings)
    assert scheduler.memory == value


def test_a_name_that_looks_like_a_number_is_read_back(load: Load) -> None:
    from aiperf_orch.settings.yaml_text import dump_yaml

    chosen = load("scheduler: {kind: slurm, account: 007, partition: 1e3}\nsystem: {name: 12}").settings
    frozen = parse_yaml(dump_yaml(chosen.model_dump(mode="json")), "frozen")[0]
    assert SiteSettings.model_validate(frozen) == chosen
    assert chosen.system.name == "12"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scheduler: {kind: slurm, memory: 64}", "not '64'; did you mean 64G or 64M?; for example memory: 64G"),
        ("scheduler: {kind: slurm, memory: 64000}", "not '64000'; did you mean 64000M?; for example memory: 64G"),
        ("scheduler: {kind: pbs, memory: 64000}", "not '64000'; did you mean 64000mb?; for example memory: 64gb"),
        ("network: {max_memory: 70G}", "must be a number in GiB, not '70G'; for example max_memory: 70.0"),
        ("search: {beta: high}", "must be a number, not 'high'; for example beta: 0.5"),
        ("scheduler: {kind: slurm, exclusive: maybe}", "must be true or false, not 'maybe'; for example exclusive: "),
        ("scheduler: {kind: slurm, exclusive: 1}", "must be true or false, not 1; for example exclusive: false"),
        ("scheduler: {kind: slurm, exclusive: [true]}", "must be true or false, not [true]; for example exclusive: "),
        ("scheduler: {kind: slurm, exclusive: }", "must be true or false, but the key has no value; for example "),
        ("campaign: {seed: true}", "must be a whole number, not true; for example seed: 0"),
        ("scheduler: {kind: slurm, modules: cuda}", "must be a list of text, not 'cuda'; for example modules: [cuda]"),
        (
            "scheduler: {kind: slurm, modules: 'cuda, gcc'}",
            "must be a list of text, not 'cuda, gcc'; for example modules: [cuda, gcc]",
        ),
        ("scheduler: {setup: }", "must be a list of text, but the key has no value; for example setup: ["),
        (
            "search: {batch_size: 64}",
            "must be a list of whole numbers, at least 2, not 64; for example batch_size: [32, 128]",
        ),
        ("search: {batch_size: [32]}", "must have at least 2 items, not 1; for example batch_size: [32, 128]"),
        ("scheduler:\n\tkind: slurm\n", "site.yaml:2:1: not valid YAML: a tab stands here: use blanks"),
        ("scheduler:\n  kind:\tslurm\n", "site.yaml:2:8: not valid YAML: a tab stands here: use blanks"),
    ],
)
def test_a_message_says_what_is_wanted(load: Load, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(text)
    assert message in str(refused.value)


_NODES = "allocations: {nodes: 1, time_limit: 5h, gpus_per_node: 0}"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("scheduler: {kind: slurm, gpus_per_node: 0}", "scheduler: {kind: slurm}"),
        ("scheduler: {kind: slurm, gpus_per_node: '0'}", "scheduler: {kind: slurm}"),
        ("scheduler: {kind: SLURM, gpus_per_node: '0'}", "scheduler: {kind: slurm}"),
        ("scheduler: {kind: pbs, gpus: 0}", "scheduler: {kind: pbs}"),
        (
            f"scheduler: {{kind: slurm, gpus_per_node: 0, {_NODES}}}",
            "scheduler: {kind: slurm, allocations: {nodes: 1, time_limit: 5h}}",
        ),
    ],
)
def test_no_gpus_are_as_if_the_key_were_not_set(load: Load, text: str, settings: str) -> None:
    assert load(text).settings == load(settings).settings


@pytest.mark.parametrize(
    "text",
    [
        "scheduler: {kind: slurm, gpus_per_node: -1}",
        "scheduler: {kind: slurm, gpus_per_node: false}",
        "scheduler: {kind: slurm, nodes: 0}",
        "scheduler: {gpus_per_trial: 0}",  # without the key trials share the GPUs
        f"scheduler: {{kind: slurm, gpus_per_node: 1, {_NODES}}}",  # without the key a node has those of one trial
    ],
)
def test_other_zeros_are_refused(load: Load, text: str) -> None:
    with pytest.raises(UsageError):
        load(text)
