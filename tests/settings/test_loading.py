"""Site files: values that are read, the origin of each, overrides, and the messages for mistakes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.settings.comparison import differences
from aiperf_orch.settings.loading import LoadedSettings, load_site
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.site_document import Override
from aiperf_orch.settings.yaml_text import dump_yaml, parse_yaml
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site.yaml"


@pytest.fixture
def load(site: Path) -> Callable[..., LoadedSettings]:
    """Loads a text as a site file, with `--set` assignments."""

    def load(text: str | bytes, *assignments: str) -> LoadedSettings:
        site.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_site(site, [Override.parse(assignment) for assignment in assignments])

    return load


@pytest.fixture
def fault(load: Callable[..., LoadedSettings], site: Path) -> Callable[..., str]:
    """The message for a text that is refused, with SITE in place of the file's path."""

    def fault(text: str | bytes, *assignments: str) -> str:
        with pytest.raises(UsageError) as caught:
            load(text, *assignments)
        assert caught.value.exit_status == 2
        return str(caught.value).replace(str(site), "SITE")

    return fault


def _packaged() -> list[Path]:
    return sorted(
        Path(str(item)) for item in files("aiperf_orch.site_configs").iterdir() if item.name.endswith(".yaml")
    )


@pytest.mark.parametrize("path", _packaged(), ids=lambda path: path.name)
def test_every_packaged_site_file_loads(path: Path) -> None:
    loaded = load_site(path)
    assert loaded.origins["system.name"].startswith(f"{path}:")


def test_one_packaged_file_is_for_a_single_machine() -> None:
    assert "local.yaml" in [path.name for path in _packaged()]


def test_an_empty_mapping_is_all_defaults(load: Callable[..., LoadedSettings]) -> None:
    assert load("{}") == LoadedSettings(SiteSettings(), {})


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_refused(fault: Callable[..., str], text: str) -> None:
    """It is what a copy leaves on a full disk; options of the command line do not make it a site file."""
    for assignments in ([], ["campaign.seed=1"]):
        assert fault(text, *assignments).startswith("SITE: is empty, or has only comments: give at least the scheduler")


def test_every_value_has_its_origin(load: Callable[..., LoadedSettings], site: Path) -> None:
    loaded = load(
        "# a comment\nsystem:\n  name: mine\ntraining: {epochs: 7, simulated: {epoch_seconds: 0}}\nsearch:\n"
        "  batch_size:\n    - 8\n    - 16\n",
        "campaign.duration=2h",
        "training.epochs=8",
    )
    assert dict(loaded.origins) == {
        "system.name": f"{site}:3",
        "training.epochs": "--set training.epochs",
        "training.simulated.epoch_seconds": f"{site}:4",
        "search.batch_size": f"{site}:6",
        "campaign.duration": "--set campaign.duration",
    }
    assert (loaded.settings.training.epochs, loaded.settings.campaign.duration) == (8, 7200)


# YAML 1.2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:00:00", "12:00:00"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("2026-01-02", "2026-01-02"),
        ("1_000", "1_000"),
        ("0o17", "0o17"),
        ("0b11", "0b11"),
        ("<<", "<<"),
        ("=", "="),
        ("010", 10),
        ("-08", -8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'010'", "010"),
        ("9223372036854775808", 2**63),
        ("[1, two, {three: 3.0}]", [1, "two", {"three": 3.0}]),
        ("{1: a, true: b, null: c}", {"1": "a", "true": "b", "null": "c"}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    parsed, _ = parse_yaml(f"key: {text}", "name")
    assert parsed == {"key": value}
    assert type(parsed["key"]) is type(value)


def test_a_clock_time_is_a_duration(load: Callable[..., LoadedSettings]) -> None:
    assert load("campaign: {duration: 12:00:00}").settings.campaign.duration == 43200
    assert load("campaign: {duration: 1-12:00:00}").settings.campaign.duration == 129600


def test_text_that_looks_like_no_is_text(load: Callable[..., LoadedSettings]) -> None:
    assert load("system: {name: no}").settings.system.name == "no"


def test_a_leading_zero_does_not_mean_octal(load: Callable[..., LoadedSettings]) -> None:
    assert load("campaign: {seed: 010}").settings.campaign.seed == 10


# mistakes in a file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("campaign:\n  concurency: 3\n", "SITE:2: campaign.concurency: unknown key; did you mean concurrency?"),
        ("campain:\n  concurrency: 3\n", "SITE:1: campain: unknown key; did you mean campaign?"),
        ("concurrency: 3\n", "SITE:1: concurrency: unknown key; did you mean campaign.concurrency?"),
        (
            "training:\n  simulated:\n    epoch_secs: 3\n",
            "SITE:3: training.simulated.epoch_secs: unknown key; did you mean epoch_seconds?",
        ),
        (
            "data:\n  zzz: 3\n",
            "SITE:2: data.zzz: unknown key; known here: name, path, image_size, classes, stage; "
            "in its part advanced: loaders, stage_readers, max_broken",
        ),
        (
            "campaign:\n  concurrency: two\n",
            "SITE:2: campaign.concurrency: must be a whole number, not 'two'; for example concurrency: 2",
        ),
        (
            "campaign:\n  concurrency: 2.5\n",
            "SITE:2: campaign.concurrency: must be a whole number, not 2.5; for example concurrency: 2",
        ),
        (
            "campaign:\n\n  concurrency: 0\n",
            "SITE:3: campaign.concurrency: must be greater than or equal to 1, not 0; for example concurrency: 2",
        ),
        (
            "campaign:\n  seed: -1\n",
            "SITE:2: campaign.seed: must be greater than or equal to 0, not -1; for example seed: 0",
        ),
        (
            "campaign: 3\n",
            "SITE:1: campaign: a section with keys is expected, not 3; for example campaign: {duration: 12h}",
        ),
        (
            "campaign:\n",
            "SITE:1: campaign: a section with keys is expected, not None; for example campaign: {duration: 12h}",
        ),
        (
            "scheduler: {setup: ls}",
            "SITE:1: scheduler.setup: must be a list of text, not 'ls'; for example setup: [ls]",
        ),
        (
            "scheduler:\n  setup:\n    - a\n    - [b]\n",
            "SITE:2: scheduler.setup.1: must be text, not [b]; for example setup: [source /shared/aiperf/env.sh]",
        ),
        (
            "scheduler:\n  kind: slurn\n",
            "SITE:2: scheduler.kind: must be one of local, slurm, pbs, agents, not 'slurn'; for example kind: slurm",
        ),
        (
            "data: {name: mnist}",
            "SITE:1: data.name: must be 'digits', 'synthetic', 'cifar10' or 'imagenet', not 'mnist'; "
            "for example name: digits",
        ),
        (
            "campaign: {}\ndata: {name: imagenet}",
            "SITE:2: data.path: imagenet needs its folder, as the nodes see it; for example path: /shared/imagenet",
        ),
        (
            "system:\n  name: '=1+1'\n",
            "SITE:2: system.name: must not begin with =: a spreadsheet would take it for a formula; "
            "for example name: Big Cluster",
        ),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_key(fault: Callable[..., str], text: str, message: str) -> None:
    assert fault(text) == message


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("12", "'12' is not a duration such as 90s, 12h, 1h30m, 12:00:00 or 1-12:00:00; did you mean 12s, 12m or 12h?"),
        ("1.5", "'1.5' is not a duration such as"),
        ("-5m", "'-5m' is not a duration such as"),
        ("0s", "must be longer than 0 and at most a year"),
        ("400d", "must be longer than 0 and at most a year"),
        (".inf", "'inf' is not a duration such as"),
        ("[1h]", "\"['1h']\" is not a duration such as"),
    ],
)
def test_an_impossible_duration_is_refused(fault: Callable[..., str], value: str, what: str) -> None:
    assert fault(f"campaign:\n  duration: {value}\n").startswith(f"SITE:2: campaign.duration: {what}")


def test_all_mistakes_are_reported_together(fault: Callable[..., str]) -> None:
    message = fault("campaign:\n  concurrency: 0\n  duration: 12\nnetwork:\n  max_layer: 3\n", "search.beta=x").split(
        "\n"
    )
    assert sorted(line.split(": ")[0:2] for line in message) == [
        ["--set search.beta", "search.beta"],
        ["SITE:2", "campaign.concurrency"],
        ["SITE:3", "campaign.duration"],
        ["SITE:5", "network.max_layer"],
    ]


def test_the_number_of_reported_mistakes_is_limited(fault: Callable[..., str]) -> None:
    message = fault("campaign:\n" + "".join(f"  k{number}: 1\n" for number in range(100))).split("\n")
    assert len(message) == 21
    assert message[-1] == "and 80 more"


def test_a_key_that_occurs_twice_is_refused(fault: Callable[..., str]) -> None:
    assert fault("campaign:\n  seed: 1\n  seed: 2\n") == "SITE:3: campaign.seed occurs twice"
    assert fault("data: {}\nsystem: {}\ndata: {}\n") == "SITE:3: data occurs twice"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("campaign:\n  seed: [1\nnetwork: {}\n", "SITE:3:"),
        ("campaign:\n\tseed: 1\n", "SITE:2:1: "),
        ("a: b: c\n", "SITE:1:5: "),
        ("a: 'unfinished\n", "SITE:2:1: "),
        ("a: *nowhere\n", "SITE:1:4: "),
        ("a: 1\n---\nb: 2\n", "SITE:2:1: "),
        ("# ä\na: \x00\n", "SITE:2: not valid YAML: the character 0x0 is not allowed"),
        ("a: !!python/object/apply:os.getcwd []\n", "SITE:1: "),
        ("a: !!python/name:os.system x\n", "SITE:1:4: "),
    ],
)
def test_malformed_yaml_is_reported_with_line_and_column(fault: Callable[..., str], text: str, where: str) -> None:
    message = fault(text)
    assert message.startswith(where)
    assert "\n" not in message


@pytest.mark.parametrize("value", ["!!float x", "!!bool x", "!!int 0xzz", "!!int x", "!!timestamp x", "!!null x"])
def test_a_value_that_does_not_fit_its_tag_is_refused(fault: Callable[..., str], value: str) -> None:
    assert fault(f"network: {{}}\ncampaign: {{seed: {value}}}").startswith("SITE:2: campaign.seed: ")


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "3\n"])
def test_a_file_that_is_not_a_mapping_is_refused(fault: Callable[..., str], text: str) -> None:
    assert fault(text) == (
        "SITE: a site file is a mapping of sections (system, scheduler, campaign, data, network, search, training)"
    )


def test_a_file_that_is_not_utf_8_is_refused(fault: Callable[..., str]) -> None:
    assert fault(b"system: {name: \xff}") == "SITE: not UTF-8 text (byte 15)"


def test_a_missing_file_is_reported_with_the_packaged_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.yaml: there is no such site file;(.|\n)*local.yaml"):
        load_site(tmp_path / "nowhere.yaml")


def test_a_directory_is_not_a_site_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_site(tmp_path)


# hostile files


def _bomb(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]\n"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, depth)]
    return "".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("campaign: {seed: " + "[" * 30_000, "SITE: nested too deeply to be a settings file"),
        ("".join("  " * n + "a:\n" for n in range(200)) + "  " * 200 + "a: 1\n", "SITE"),
        ("a: &a [*a]\n", "SITE: nested too deeply to be a settings file"),
        (_bomb(12), "SITE:1: more than 10000 values, which is too much for a settings file"),
        ("? " + "[" * 50 + "]" * 50 + "\n: 1\n", "SITE:1: a key must be a word, not a list or a mapping"),
        ("campaign: {seed: " + "9" * 5000 + "}", "SITE:1: campaign.seed: a number that is too long"),
        ("campaign: {seed: 0x" + "f" * 9000 + "}", "SITE:1: campaign.seed: a number that is too long"),
        ("campaign: {seed: 1" + "0" * 60 + "}", "SITE:1: campaign.seed: must be less than 9223372036854775808, not"),
        ("search: {beta: 1" + "0" * 5000 + ".0}", "SITE:1: search.beta: a number that is too long"),
        ("search: {beta: 1e999}", "SITE:1: search.beta: must be a finite number, not .inf"),
        ("search: {beta: .nan}", "SITE:1: search.beta: must be"),
        ("a: " + "x" * (1 << 16), "SITE: larger than a settings file can be (65536 bytes)"),
        ("system: {name: '" + "x" * 50_000 + "'}", "SITE:1: system.name: must have at most 200 characters"),
        ("system: {name: \"\\ud800\"}", "SITE:1: system.name: must be text"),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_hostile_file_is_refused_soon_with_a_short_message(
    fault: Callable[..., str], text: str, message: str
) -> None:
    began = time.process_time()
    found = fault(text)
    assert found.startswith(message)
    assert len(found) < 2000
    assert time.process_time() - began < 60  # about a second, more on a slow machine; an expanded bomb takes hours


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="abc:[]{}&*!?|>-#'\"%@`,\n\t 0123456789.~<=", max_size=40) | st.text(max_size=20))
def test_every_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_yaml(text, "name")


# --set


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("campaign.concurrency", "--set campaign.concurrency: expected key=value, for example campaign.duration=2h"),
        ("=3", "--set =3: expected key=value, for example campaign.duration=2h"),
        (
            "campaign.concurency=3",
            "--set campaign.concurency: campaign.concurency: unknown key; did you mean concurrency?",
        ),
        ("concurrency=3", "--set concurrency: concurrency: unknown key; did you mean campaign.concurrency?"),
        (
            "campaign.concurrency=0",
            "--set campaign.concurrency: campaign.concurrency: must be greater than or equal to 1, not 0; "
            "for example --set campaign.concurrency=2",
        ),
        (
            "campaign=3",
            "--set campaign: campaign: a section with keys is expected, not 3; "
            "for example --set 'campaign={duration: 12h}'",
        ),
        (
            "campaign.seed=",
            "--set campaign.seed: campaign.seed: must be a whole number, but the key has no value; "
            "for example --set campaign.seed=0",
        ),
        (
            "campaign.duration.hours=3",
            "--set campaign.duration.hours: campaign.duration: \"{'hours': 3}\" is not a duration such as 90s, 12h, "
            "1h30m, 12:00:00 or 1-12:00:00; for example --set campaign.duration=12h",
        ),
        ("campaign.seed=[1", "--set campaign.seed:1:3: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_a_wrong_override_is_reported_with_its_option(fault: Callable[..., str], assignment: str, message: str) -> None:
    assert fault("campaign: {seed: 3}\n", assignment) == message


def test_overrides_are_yaml_values(load: Callable[..., LoadedSettings]) -> None:
    chosen = load(
        "campaign: {max_trials: 9}\n",
        "training.warmup_epochs=[1, 2]",
        "campaign.max_trials=null",
        "campaign.group_readable=true",
        "system.name=a=b, c",
        "training.simulated.epoch_seconds=0",
    ).settings
    assert chosen.training.warmup_epochs == [1, 2]
    assert chosen.campaign.max_trials is None
    assert chosen.campaign.group_readable
    assert chosen.system.name == "a=b, c"
    assert chosen.training.simulated.epoch_seconds == 0


def test_the_last_override_of_a_key_is_used(load: Callable[..., LoadedSettings]) -> None:
    assert load("{}", "campaign.seed=1", "campaign.seed=2").settings.campaign.seed == 2


def test_an_override_of_a_whole_section_replaces_it(load: Callable[..., LoadedSettings]) -> None:
    loaded = load("campaign:\n  seed: 3\n  concurrency: 4\n", "campaign={seed: 5}")
    assert (loaded.settings.campaign.seed, loaded.settings.campaign.concurrency) == (5, 2)
    assert dict(loaded.origins) == {"campaign.seed": "--set campaign"}
    assert load("campaign:\n  seed: 3\n", "campaign={}").settings == SiteSettings()


def test_a_mistake_in_an_override_is_not_reported_for_the_file(fault: Callable[..., str]) -> None:
    message = fault("campaign:\n  seed: 3\n", "campaign={seed: -1}")
    assert message.startswith("--set campaign: campaign.seed: ")


# advanced settings


def test_advanced_settings_are_read_from_their_part_and_flat(load: Callable[..., LoadedSettings], site: Path) -> None:
    nested = load("scheduler:\n  kind: slurm\n  advanced:\n    poll_interval: 7s\n    comment: 007\n")
    flat = load("scheduler:\n  kind: slurm\n  poll_interval: 7s\n  comment: 007\n")
    assert nested.settings == flat.settings
    assert nested.settings.scheduler.poll_interval == 7
    assert nested.origins == {
        "scheduler.kind": f"{site}:2",
        "scheduler.poll_interval": f"{site}:4",
        "scheduler.comment": f"{site}:5",
    }


@pytest.mark.parametrize("key", ["scheduler.poll_interval", "scheduler.advanced.poll_interval"])
@pytest.mark.parametrize("text", ["scheduler: {poll_interval: 9s}", "scheduler: {advanced: {poll_interval: 9s}}", "{}"])
def test_an_override_of_an_advanced_setting_replaces_it(
    load: Callable[..., LoadedSettings], text: str, key: str
) -> None:
    loaded = load(text, f"{key}=7s")
    assert loaded.settings.scheduler.poll_interval == 7
    assert dict(loaded.origins) == {"scheduler.poll_interval": f"--set {key}"}


def test_an_override_may_be_a_whole_part(load: Callable[..., LoadedSettings]) -> None:
    for text in ("scheduler: {poll_interval: 9s, stop_grace: 3s}", "scheduler: {advanced: {stop_grace: 3s}}"):
        loaded = load(text, "scheduler.advanced={poll_interval: 7s}")
        assert (loaded.settings.scheduler.poll_interval, loaded.settings.scheduler.stop_grace) == (7, 3)
        assert loaded.origins["scheduler.poll_interval"] == "--set scheduler.advanced"
    assert load("{}", "scheduler={advanced: {poll_interval: 7s}}").settings.scheduler.poll_interval == 7
    nested = load("training: {simulated: {failure_rate: 1}}", "training.advanced.simulated.epoch_seconds=0")
    assert nested.settings.training.simulated.model_dump() == {
        "epoch_seconds": 0, "failure_rate": 1, "failure_reason": "TRIAL_ERROR",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "assignments", "message"),
    [
        (
            "scheduler:\n  advanced:\n    poll_interval: 12\n",
            [],
            "SITE:3: scheduler.advanced.poll_interval: '12' is not a duration such as 90s, 12h, 1h30m, 12:00:00 or "
            "1-12:00:00; did you mean 12s, 12m or 12h?; for example poll_interval: 1s",
        ),
        (
            "scheduler:\n  advanced:\n    pol_interval: 1s\n",
            [],
            "SITE:3: scheduler.advanced.pol_interval: unknown key; did you mean poll_interval?",
        ),
        (
            "{}",
            ["scheduler.advanced.stop_grace=0s"],
            "--set scheduler.advanced.stop_grace: scheduler.advanced.stop_grace: must be longer than 0 and at most a "
            "year; for example --set scheduler.advanced.stop_grace=15s",
        ),
        (
            "scheduler:\n  poll_interval: 1s\n  advanced:\n    poll_interval: 2s\n",
            [],
            "SITE:4: scheduler.advanced.poll_interval: scheduler.poll_interval is set, too (SITE:2): "
            "remove one of them",
        ),
        (
            "search:\n  advanced: 3\n",
            [],
            "SITE:2: search.advanced: a part with keys is expected, not 3; for example any of kernel_sizes, "
            "max_dropout, first_batch_size, tpe_from_round, max_edits, neighbours, beta, forecast_epoch, candidates",
        ),
        (
            "advanced:\n  seed: 3\n",
            [],
            "SITE:1: advanced: unknown key; known here: system, scheduler, campaign, data, network, search, training",
        ),
        (
            "training: {advanced: {simulated: {advanced: {failure_rate: 1}}}}",
            [],
            "SITE:1: training.advanced.simulated.advanced: unknown key; known here: epoch_seconds, failure_rate, "
            "failure_reason",
        ),
    ],
)
def test_a_mistake_in_an_advanced_part_names_the_written_key(
    fault: Callable[..., str], text: str, assignments: list[str], message: str
) -> None:
    assert fault(text, *assignments) == message


# frozen settings


def _read_back(chosen: SiteSettings) -> SiteSettings:
    return SiteSettings.model_validate(parse_yaml(dump_yaml(chosen.model_dump(mode="json")), "name")[0])


_TEXT = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and text[0] not in "=+-@")
_DURATION = st.floats(0.001, 366 * 86400) | st.integers(1, 366 * 86400)


@settings(deadline=None)
@given(_DURATION, _DURATION)
def test_durations_are_read_back_as_they_were_frozen(duration: float, poll: float) -> None:
    chosen = SiteSettings.model_validate(
        {"campaign": {"duration": f"{duration:f}s"}, "scheduler": {"poll_interval": f"{poll:.3f}s"}}
    )
    assert _read_back(chosen) == chosen


@settings(deadline=None)
@given(
    _TEXT
    | st.sampled_from(["1e3", "08", "no", "12:00:00", "1_0", ".5", "~", "null", "0x1f", "true", "1:2", "# x", " "]),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=3),
    st.floats(0, 1),
    st.floats(1e-300, 100),
    st.integers(0, 2**63 - 1),
    st.none() | st.integers(1, 10**40),
)
def test_settings_are_read_back_as_they_were_frozen(
    name: str, setup: list[str], fraction: float, rate: float, seed: int, operations: int | None
) -> None:
    chosen = SiteSettings.model_validate(
        {
            "system": {"name": name},
            "scheduler": {"setup": setup},
            "campaign": {"seed": seed},
            "network": {"max_operations": operations},
            "training": {"momentum": fraction, "learning_rate": rate},
        }
    )
    assert _read_back(chosen) == chosen


@pytest.mark.parametrize("name", ["1e3", "08", "no", "12:00:00", "null", "ü #1: {x}", "'", "- a"])
def test_a_campaign_reads_its_frozen_settings_back(tmp_path: Path, name: str) -> None:
    if name.startswith("-"):
        name = f'"{name}'
    chosen = SiteSettings.model_validate(
        {"system": {"name": name}, "scheduler": {"setup": ["module load x", "export A='b: c'\n# \t1e3"]}}
    )
    origins = {"system.name": f"{tmp_path}/a: b.yaml:3", "scheduler.setup": "--set x"}
    made = CampaignDirectory.create(tmp_path / "campaign", chosen, origins)
    assert made.settings == chosen
    assert made.config.origins == origins
    assert CampaignDirectory.open(tmp_path / "campaign").settings == chosen


def test_differences_have_one_line_for_each_key() -> None:
    changed = SiteSettings.model_validate({"campaign": {"duration": "2h"}, "training": {"warmup_epochs": [1]}})
    assert differences(SiteSettings(), SiteSettings()) == []
    assert differences(SiteSettings(), changed) == [
        "campaign.duration: 12h there, 2h now",
        "training.warmup_epochs: [15, 30, 45] there, [1] now",
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "system: {hw_notes: 'a <b note'}",
            "SITE:1: system.hw_notes: 'a <b note': '<b' would begin a tag in a web page",
        ),
        ("system: {name: '<script>alert(1)</script>'}", "SITE:1: system.name: '<script>alert(1)</script>': '<s'"),
        ("system: {host_networking: 'x <!-- y'}", "SITE:1: system.host_networking: 'x <!-- y': '<!'"),
        ("system: {accelerator_peak_ops: 312}", "SITE:1: system.accelerator_peak_ops: 312: operations per second"),
        (
            "system: {number_of_nodes: 2}\nscheduler: {kind: slurm, nodes: 4}",
            "SITE:1: system.number_of_nodes: 2, but scheduler.nodes gives each trial 4",
        ),
    ],
)
def test_settings_that_verify_would_refuse_are_refused_before(
    fault: Callable[..., str], section: str, message: str
) -> None:
    assert message in fault(section)


@pytest.mark.parametrize("note", ["NVLink > 600 GB/s", "latency < 2 us", "<2 us -> fine", "A & B <= C", "Ångström №1"])
def test_a_note_that_is_no_html_tag_is_accepted(load: Callable[..., LoadedSettings], note: str) -> None:
    assert load(f"system: {{hw_notes: '{note}'}}").settings.system.hw_notes == note


@pytest.mark.parametrize("part", ["advanced: {simulated: {epoch_seconds: 0.05}}", "simulated: {epoch_seconds: 0.05}"])
def test_an_advanced_part_from_the_command_line_replaces_a_nested_value(tmp_path: Path, part: str) -> None:
    (tmp_path / "site.yaml").write_text(f"training: {{{part}}}\n")
    loaded = load_site(tmp_path / "site.yaml", [Override.parse("training.advanced={simulated: {failure_rate: 0.1}}")])
    assert loaded.settings.training.simulated.failure_rate == 0.1
    assert "training.simulated.epoch_seconds" not in loaded.origins


@pytest.mark.parametrize(
    ("text", "assignments"),
    [
        ("scheduler: {advanced: {advanced: {poll_interval: 2s}}}\n", []),
        ("{}", ["scheduler.advanced.advanced.poll_interval=2s"]),
    ],
)
def test_advanced_has_no_part_advanced(tmp_path: Path, text: str, assignments: list[str]) -> None:
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"scheduler\.advanced\.advanced.*: unknown key"):
        load_site(tmp_path / "site.yaml", [Override.parse(each) for each in assignments])
