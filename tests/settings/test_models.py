"""Models of the settings: bounds, defaults, derived values, and the parts of a section."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from aiperf_orch.settings.base import advanced_keys, written_key
from aiperf_orch.settings.models import SCHEDULERS, DataSettings, SiteSettings, TrainingSettings, as_site_file

pytestmark = pytest.mark.unit


def test_every_setting_has_a_default() -> None:
    settings = SiteSettings()
    assert settings.campaign.duration == 12 * 3600
    assert settings.campaign.concurrency == 2
    assert not settings.simulated
    assert SiteSettings.model_validate({"training": {"trainer": "simulated"}}).simulated


def test_the_defaults_are_valid() -> None:
    assert SiteSettings.model_validate(SiteSettings().model_dump(mode="json")) == SiteSettings()


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SiteSettings().campaign.concurrency = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("campaign", "concurrency", 0),
        ("campaign", "concurrency", -1),
        ("campaign", "concurrency", 10**10),
        ("campaign", "concurrency", True),
        ("campaign", "concurrency", 2.0),
        ("campaign", "concurrency", "2"),
        ("campaign", "concurrency", None),
        ("campaign", "duration", "0s"),
        ("campaign", "duration", "-1h"),
        ("campaign", "duration", "367d"),
        ("campaign", "duration", 60),
        ("campaign", "duration", 60.0),
        ("campaign", "duration", None),
        ("campaign", "max_trials", 0),
        ("campaign", "seed", -1),
        ("campaign", "seed", 2**63),
        ("campaign", "group_readable", "yes"),
        ("campaign", "group_readable", 1),
        ("campaign", "max_attempts", 10),
        ("scheduler", "kind", "slurn"),
        ("scheduler", "cores_per_trial", 0),
        ("scheduler", "setup", "module load python"),
        ("scheduler", "setup", [1]),
        ("scheduler", "python", ""),
        ("scheduler", "poll_interval", "0s"),
        ("data", "name", "mnist"),
        ("data", "path", "images"),
        ("data", "stage", "~/images"),
        ("network", "max_layers", 0),
        ("network", "max_operations", 0),
        ("search", "kernel_sizes", []),
        ("search", "kernel_sizes", [4]),
        ("search", "max_dropout", 1.5),
        ("search", "max_dropout", float("nan")),
        ("search", "batch_size", [32]),
        ("search", "batch_size", [0, 32]),
        ("search", "beta", 0),
        ("training", "epochs", 0),
        ("training", "warmup_epochs", [0]),
        ("training", "learning_rate", float("inf")),
        ("training", "learning_rate", 0),
        ("training", "precision", "fp8"),
        ("training", "momentum", -0.1),
        ("training", "simulated", {"failure_rate": 2}),
        ("training", "simulated", {"epoch_seconds": -1}),
        ("training", "simulated", None),
        ("system", "name", ""),
        ("system", "name", "two\nlines"),
        ("system", "name", "\x1b[31mred"),
        ("system", "name", "x" * 201),
        ("system", "name", 7),
    ],
)
def test_an_impossible_value_is_refused_at_its_key(section: str, key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        SiteSettings.model_validate({section: {key: value}})
    for error in caught.value.errors():
        location = [part for part in error["loc"] if part != "local"]  # pydantic adds the kind of scheduler
        assert location[:2] == [section, key] or (key == "kind" and location == [section])


def test_paths_of_the_data_are_normalized_and_may_be_hashes() -> None:
    data = DataSettings(path="/data//imagenet/", stage="sha256:" + "0" * 64)
    assert (data.path, data.stage) == ("/data/imagenet", "sha256:" + "0" * 64)


@pytest.mark.parametrize("text", ['=cmd|" /C calc"!A0', "+1", "-2+3", "@SUM(A1)"])
@pytest.mark.parametrize("key", ["name", "submitter", "contact"])
def test_a_name_that_is_a_spreadsheet_formula_is_refused(key: str, text: str) -> None:
    with pytest.raises(ValidationError, match="a spreadsheet would take it for a formula"):
        SiteSettings.model_validate({"system": {key: text}})


@pytest.mark.parametrize("text", ["Größe 1, Nürnberg", "a=b", "1+1", 'Tux\'s "box"', "名前"])
def test_an_ordinary_name_is_kept(text: str) -> None:
    assert SiteSettings.model_validate({"system": {"name": text}}).system.name == text


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"batch_size": [64, 32]}, "batch_size: the smallest, 64, is above the largest, 32"),
        ({"first_batch_size": 16}, r"first_batch_size: 16 is not within batch_size \[32, 128\]"),
    ],
)
def test_batch_sizes_that_contradict_each_other_are_refused(search: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SiteSettings.model_validate({"search": search})


def test_fractions_and_rates_may_be_integers() -> None:
    settings = SiteSettings.model_validate({"training": {"momentum": 0, "learning_rate": 1}, "search": {"beta": 3}})
    assert (settings.training.momentum, settings.training.learning_rate, settings.search.beta) == (0, 1, 3)


def test_epochs_and_patience_of_the_papers_rounds() -> None:
    training = TrainingSettings()
    assert [training.epochs_of_round(number) for number in (0, 1, 2, 3, 99)] == [15, 30, 45, 60, 60]
    assert [training.patience_of_round(number) for number in (0, 1, 6, 7, 8, 99)] == [6, 8, 18, 20, 20, 20]


def _first_level() -> set[tuple[str, str]]:
    sections: dict[str, list[Any]] = {name: [field.annotation] for name, field in SiteSettings.model_fields.items()}
    sections["scheduler"] = list(SCHEDULERS.values())
    return {
        (section, key)
        for section, models in sections.items()
        for model in models
        for key in model.model_fields.keys() - set(advanced_keys(model))
    }


def test_few_settings_are_at_the_first_level() -> None:
    assert len(_first_level()) <= 46
    assert {("scheduler", "partition"), ("scheduler", "queue"), ("campaign", "duration")} <= _first_level()


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_settings_written_as_a_site_file_are_read_back(kind: str) -> None:
    settings = SiteSettings.model_validate({"scheduler": {"kind": kind, "advanced": {"poll_interval": "7s"}}})
    document = as_site_file(settings)
    assert document["scheduler"]["advanced"]["poll_interval"] == "7s"
    assert "poll_interval" not in document["scheduler"]
    assert SiteSettings.model_validate(document) == settings


def test_a_key_as_it_is_written_names_its_part() -> None:
    training = TrainingSettings()
    assert written_key(training, "simulated.failure_rate") == "advanced.simulated.failure_rate"
    assert written_key(training, "epochs") == "epochs"


def test_a_setting_in_the_section_and_in_its_part_is_refused() -> None:
    with pytest.raises(ValidationError, match="momentum: is given in the section and in its part advanced"):
        SiteSettings.model_validate({"training": {"momentum": 0, "advanced": {"momentum": 1}}})
