"""Records: accepted and refused values, and their form on disk."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aiperf_orch.records.base import EndReason, Record, first_error
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.journal import Created, Ended, entry_adapter
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, Hyperparameters, TrainingRecord, TrialSpec
from aiperf_orch.settings.models import DataSettings, TrainingSettings

_TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, timezone.utc)
_EPOCH = {
    "type": "epoch", "trial": 42, "attempt": 1, "run": 0, "epoch": 3, "start": "2026-01-02T03:04:05.678Z",
    "end": "2026-01-02T03:04:06.000Z", "train_images": 1437, "val_images": 360, "loss": 0.41, "error": 0.05,
    "ops": 123456789012, "batch": 64, "skipped": 0, "data_wait": 0.02, "energy": 51234.5, "energy_of": "accelerators",
}  # fmt: skip
_BEGIN = {
    "type": "begin", "trial": 42, "attempt": 1, "run": 0, "time": "2026-01-02T03:04:05.678Z", "hosts": ["n1"],
    "job": "123", "batch": 448, "spec_sha256": "0" * 64, "trainer": "torch", "device": "cpu", "precision": "fp32",
    "cores": 1, "inherited": True, "workers": 16, "compiled": False,
    "data_sha256": "1" * 64, "clock_skew": -0.2, "versions": {"torch": "2.11.0+cpu", "aiperf-orch": "0.1.0"},
}  # fmt: skip

pytestmark = pytest.mark.unit


def _refused(value: Any) -> str:
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    with pytest.raises(ValidationError) as caught:
        event_adapter.validate_json(text)
    return first_error(caught.value)


def test_an_epoch_line_is_as_documented() -> None:
    epoch = event_adapter.validate_json(json.dumps(_EPOCH))
    assert isinstance(epoch, Epoch)
    assert epoch.start == _TIME
    assert json.loads(epoch.to_line()) == _EPOCH
    assert "\n" not in epoch.to_line()


def test_a_begin_line_is_as_documented() -> None:
    begin = event_adapter.validate_json(json.dumps(_BEGIN))
    assert isinstance(begin, Begin)
    assert json.loads(begin.to_line()) == _BEGIN
    ahead = _BEGIN | {"set_ahead": 1800.5}  # only where a clock was behind
    assert json.loads(event_adapter.validate_json(json.dumps(ahead)).to_line()) == ahead


def test_times_are_written_in_utc_to_the_millisecond() -> None:
    east = timezone(timedelta(hours=2))
    end = End(trial=1, attempt=1, run=0, time=_TIME.astimezone(east), reason=EndReason.COMPLETED)
    assert json.loads(end.to_line())["time"] == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"epoch": 0}, "epoch.epoch: "),
        ({"trial": -1}, "epoch.trial: "),
        ({"attempt": 0}, "epoch.attempt: "),
        ({"error": 1.01}, "epoch.error: "),
        ({"error": -0.01}, "epoch.error: "),
        ({"val_images": 0}, "epoch.val_images: "),
        ({"train_images": -1}, "epoch.train_images: "),
        ({"train_images": 1.5}, "epoch.train_images: "),
        ({"ops": None}, "epoch.ops: "),
        ({"ops": -1}, "epoch.ops: "),
        ({"end": "2026-01-02T03:04:06"}, "epoch.end: "),
        ({"end": "yesterday"}, "epoch.end: "),
        ({"loss": float("nan")}, "epoch.loss: "),
        ({"loss": float("inf")}, "epoch.loss: "),
        ({"error": float("nan")}, "epoch.error: "),
        ({"more": 1}, "epoch.more: "),
        ({"type": "epic"}, "Input tag 'epic'"),
        ({"type": None}, "Input tag 'None'"),
    ],
)
def test_an_impossible_value_is_refused_at_its_key(changes: Any, fault: str) -> None:
    assert _refused(_EPOCH | changes).startswith(fault)


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": {"score": "=cmd()"}},
        {"versions": {"=cmd()": "1"}},
        {"versions": {"torch": "2\n3"}},
        {"versions": {"torch": ""}},
        {"precision": "=1+1"},
        {"precision": "fp32,fp16"},
        {"spec_sha256": "0" * 63},
        {"trainer": "magic"},
    ],
)
def test_values_for_tables_are_plain(changes: Any) -> None:
    assert _refused(_BEGIN | changes).startswith("begin.")


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"epoch"', "{}", "\x00", b"\xff", b'{"type": "epoch\xff"}',
     "[" * 100_000, '{"a":' * 9999],
)  # fmt: skip
def test_garbage_is_refused(text: str | bytes) -> None:
    assert _refused(text)


def test_operations_are_exact_beyond_64_bits() -> None:
    many = 8_403_696_000_000_000_000_001
    epoch = event_adapter.validate_json(json.dumps(_EPOCH | {"ops": many}))
    assert isinstance(epoch, Epoch)
    assert epoch.ops == many
    assert f'"ops":{many}' in epoch.to_line()
    assert event_adapter.validate_json(epoch.to_line()) == epoch
    assert OperationsPerImage(forward=many, train=3 * many).train == 3 * many


def test_a_very_long_number_is_refused_soon() -> None:
    assert _refused(json.dumps(_EPOCH).replace("123456789012", "9" * 100_000))


def test_records_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        event_adapter.validate_json(json.dumps(_EPOCH)).trial = 3  # type: ignore[misc]


_COUNT = st.integers(0, 10**30)
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)


@settings(deadline=None)
@given(_COUNT, _COUNT, st.integers(1, 10**9), st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False), _TIMES)
def test_an_epoch_is_read_back_as_it_was_written(
    trial: int, ops: int, number: int, error: float, loss: float, time: datetime
) -> None:
    epoch = Epoch(
        trial=trial, attempt=1, run=0, epoch=number, start=time, end=time, train_images=ops, val_images=number,
        loss=loss, error=error, ops=ops,
        batch=1,
    )  # fmt: skip
    assert event_adapter.validate_json(epoch.to_line()) == epoch


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_message_stays_on_one_line(message: str) -> None:
    end = End(trial=0, attempt=1, run=0, time=_TIME, reason=EndReason.TRIAL_ERROR, message=message)
    assert "\n" not in end.to_line()
    assert event_adapter.validate_json(end.to_line()) == end


def test_a_specification_is_read_back_as_it_was_written() -> None:
    spec = TrialSpec(
        campaign="abcde", trial=3, round=1, seed=7, parent=0, parent_error=0.25, edits=[{"kind": "wider", "at": 3}],
        network_hash="a" * 64, operations=OperationsPerImage(forward=10**25, train=3 * 10**25),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=0.1, batch_size=32), epochs=5, patience=6,
        data=DataSettings(), training=TrainingSettings(), network={"layers": []},
    )  # fmt: skip
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (DataRecord, DataSettings(name="imagenet", path="/shared/imagenet", stage="/local", loaders=3)),
        (TrainingRecord, TrainingSettings()),
        (TrainingRecord, TrainingSettings(hang_after="90.25s", simulated={"failure_rate": 1})),  # type: ignore[arg-type]
    ],
)
def test_a_wire_model_writes_the_bytes_of_its_settings_section(model: type[Record], settings: Any) -> None:
    record = model.model_validate(settings)
    assert record.to_line() == settings.model_dump_json(include=set(model.model_fields))
    assert model.model_validate_json(record.to_line()) == record


def test_a_new_setting_does_not_change_a_specification() -> None:
    class LaterSettings(DataSettings):
        colour: str = "red"

    record = DataRecord.model_validate(LaterSettings(name="cifar10", path="/data"))
    assert record == DataRecord(name="cifar10", path="/data")
    assert "colour" not in record.to_line()
    with pytest.raises(ValidationError, match="colour"):
        DataRecord.model_validate_json('{"colour": "red"}')


@pytest.mark.parametrize(
    "value", ['{"epochs": "3"}', '{"hang_after": "0s"}', '{"momentum": 2}', '{"trainer": "magic"}']
)
def test_a_wire_model_is_as_strict_as_the_settings(value: str) -> None:
    for model in (TrainingRecord, TrainingSettings):
        with pytest.raises(ValidationError):
            model.model_validate_json(value)


def test_a_specification_of_another_version_is_refused() -> None:
    with pytest.raises(ValidationError, match="version"):
        TrialSpec.model_validate({"version": 2})


def test_journal_entries_are_distinguished_by_their_type() -> None:
    line = Created(seq=0, time=_TIME, generation=1, prev="0" * 64, settings_sha256="1" * 64, version="0.1.0").to_line()
    assert isinstance(entry_adapter.validate_json(line), Created)
    ended = Ended(seq=3, time=_TIME, generation=1, prev="0" * 64, attempts=[])
    assert entry_adapter.validate_json(ended.to_line()) == ended
    with pytest.raises(ValidationError, match="Extra inputs"):
        entry_adapter.validate_json(line.replace('"version"', '"verse"'))


def test_every_reason_of_the_failure_policy_has_its_name() -> None:
    policy = (
        "COMPLETED EARLY_STOPPED CAMPAIGN_ENDED STOPPED OUT_OF_MEMORY TIME_LIMIT NODE_FAILURE PREEMPTED CANCELLED HELD "
        "LOST HUNG BAD_DATA TRAINING_DIVERGED SUBMIT_REFUSED TRIAL_ERROR RESUBMITTED"
    )
    assert " ".join(reason.value for reason in EndReason) == policy
