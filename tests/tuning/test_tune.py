"""Loop of a tuning with measurements that are given, and its table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aiperf_orch.records.events import Begin
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.tuning.alternatives import BATCH, COMPILE, PRECISION, Alternative, Setup, with_values
from aiperf_orch.tuning.comparison import Verdict, proposed
from aiperf_orch.tuning.trial_measurement import Failed, Measured, evaluate
from aiperf_orch.tuning.tune import Tuning
from aiperf_orch.tuning.tuning_text import as_json, as_table
from aiperf_orch.tuning.workload import cut_data, networks

pytestmark = pytest.mark.unit

SETUP = Setup(precision="fp32", batch=32, workers=1, compile=False, loaders=None)
BF16, FP16, COMPILED = (
    with_values(SETUP, {key: value}) for key, value in ((PRECISION, "bf16"), (PRECISION, "fp16"), (COMPILE, True))
)
BLOCKS = [[BF16, FP16], [COMPILED]]
BEGIN = Begin.model_validate_json(
    '{"type":"begin","trial":0,"attempt":1,"run":0,"time":"2026-01-02T03:04:05.678Z","hosts":["n1"],"job":"1",'
    f'"spec_sha256":"{"0" * 64}","trainer":"torch","clock_skew":0.0,"batch":32,"device":"cpu","precision":"fp32",'
    '"cores":1,"inherited":false,"versions":{}}'
)


def _tuning(
    rate: Callable[[Setup], float | str], *, measurements: int = 1000, late: Alternative | None = None
) -> Tuning:
    """A tuning whose time ends after a number of measurements."""
    left = [measurements]

    def measure(alternative: Alternative, _network: str, _seconds: float) -> Measured | Failed:
        left[0] -= 1
        if alternative == late:
            return Failed("it took longer than 60 s", is_late=True)
        found = rate(alternative.setup)
        return Failed(found) if isinstance(found, str) else Measured(BEGIN, found, 1.0, 100)

    tuning = Tuning(SETUP, measure, lambda: 100.0 * left[0], 60.0, lambda _line: None)
    tuning.run(BLOCKS)
    return tuning


def _speed(setup: Setup) -> float | str:
    if setup.precision == "fp16":
        return "OUT_OF_MEMORY: not even a batch of 2 images fits into memory"
    return 100.0 * (1.5 if setup.precision == "bf16" else 1) * (1.2 if setup.compile else 1)


def test_winners_are_measured_together_before_they_are_proposed() -> None:
    tuning = _tuning(_speed)
    assert [each.verdict for each in tuning.compared] == [Verdict.FASTER, Verdict.FAILED, Verdict.FASTER]
    assert tuning.together
    assert tuning.together.gain == pytest.approx(0.8)
    best = proposed(tuning.compared, tuning.together)
    assert best
    assert dict(best.alternative.values) == {PRECISION: "bf16", COMPILE: True}


def test_the_table_has_80_columns_and_a_reason_for_each_failure() -> None:
    text = as_table(_tuning(_speed), "One trial on n1: cpu, 1 core; " + "long words " * 20)
    assert max(map(len, text.splitlines())) <= 80
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "training.precision: bf16 150 150 +50% faster" in rows
    assert rows[rows.index("training.precision: fp16 - - - failed") + 1].startswith("OUT_OF_MEMORY: not even")
    assert "all faster values together 180 180 +80% faster" in rows
    assert "may change the error" in " ".join(rows)
    found = json.loads(as_json(_tuning(_speed), "n1"))
    assert found["proposed"] == {PRECISION: "bf16", COMPILE: True}
    assert found["present"] == {"seed": 100, "morphed": 100}


def test_a_time_limit_leaves_what_was_decided_by_then() -> None:
    decided = 2 * (3 + 3) + 1  # of present settings and bf16, and the one of fp16 that failed
    tuning = _tuning(_speed, measurements=decided)
    assert tuning.is_cut
    assert tuning.together is None
    best = proposed(tuning.compared, None)
    assert best
    assert best.alternative == BF16
    cut = _tuning(_speed, measurements=decided - 1)
    assert [each.verdict for each in cut.compared] == [Verdict.UNDECIDED, Verdict.FAILED]
    assert proposed(cut.compared, None) is None
    assert "--time-limit" in as_table(cut, "n1")


def test_one_slow_alternative_does_not_end_the_tuning() -> None:
    tuning = _tuning(_speed, late=COMPILED)
    assert not tuning.is_cut
    assert tuning.compared[-1].verdict is Verdict.FAILED
    assert tuning.compared[-1].reason == "it took longer than 60 s"


def test_present_settings_that_fail_end_the_tuning() -> None:
    tuning = _tuning(lambda _setup: "BAD_DATA: no folder")
    assert tuning.present_failure == "BAD_DATA: no folder"
    assert tuning.compared == []


# events of a trial

EPOCHS = [
    f'{{"type":"epoch","trial":0,"attempt":1,"run":0,"epoch":{number},"start":"2026-01-02T03:04:0{number}.000Z",'
    f'"end":"2026-01-02T03:04:0{number + 1}.000Z","train_images":80,"val_images":20,"loss":0.4,"error":0.1,'
    '"batch":32,"ops":1}'
    for number in (1, 2, 3)
]
END = '{"type":"end","trial":0,"attempt":1,"run":0,"time":"2026-01-02T03:04:09.000Z","reason":"COMPLETED"}'


def _output(**begin: object) -> str:
    return "\n".join([BEGIN.model_copy(update=begin).to_line(), *EPOCHS, END])


def test_the_first_epoch_is_not_measured() -> None:
    found = evaluate(Alternative(SETUP), _output(), "")
    assert isinstance(found, Measured)
    assert found.images_per_second == pytest.approx(100)
    assert found.epoch_seconds == pytest.approx(1)


@pytest.mark.parametrize(
    ("alternative", "output", "messages", "reason"),
    [
        (BF16, _output(), "", "cpu trains in fp32 instead"),
        (with_values(SETUP, {BATCH: 64}), _output(), "", "OUT_OF_MEMORY: only a batch of 32 fits"),
        (with_values(SETUP, {"scheduler.workers_per_node": 2}), _output(), "", "1 worker(s) were started instead"),
        (COMPILED, _output(), "warning: torch.compile failed, x (no gcc)\n", "torch.compile failed, x (no gcc)"),
        (COMPILED, _output(compiled=True), "warning: torch.compile failed, y", "torch.compile failed, y"),
        (BF16, END.replace("COMPLETED", "BAD_DATA"), "", "BAD_DATA: "),
        (BF16, "", "Traceback\nKilled", "the trial ended by itself: Killed"),
        (BF16, "", "", "the trial ended by itself: no message"),
    ],
)
def test_a_trial_that_did_not_use_the_settings_failed(
    alternative: Alternative, output: str, messages: str, reason: str
) -> None:
    assert evaluate(alternative, output, messages) == Failed(reason)


def test_a_halved_batch_of_the_present_settings_is_no_failure() -> None:
    assert isinstance(evaluate(Alternative(Setup("fp32", 64, 1, False, None)), _output(), ""), Measured)


# networks and images


def test_the_morphed_network_is_the_same_in_each_run_and_within_the_limits() -> None:
    settings = SiteSettings()
    first, again = (networks(settings, 10)["morphed"] for _ in range(2))
    assert first == again != networks(settings, 10)["seed"]
    limited = SiteSettings.model_validate({"network": {"max_layers": networks(settings, 10)["seed"].depth}})
    assert networks(limited, 10)["morphed"].depth == networks(settings, 10)["seed"].depth


def test_an_image_tree_is_cut_by_links(tmp_path: Path) -> None:
    for split, number in (("train", 6), ("val", 3)):
        for name in ("a", "b"):
            (tmp_path / "tree" / split / name).mkdir(parents=True)
            for image in range(number):
                (tmp_path / "tree" / split / name / f"{image}.jpg").write_bytes(b"x")
    (tmp_path / "tree" / "train" / "README").write_text("not a class")
    settings = SiteSettings.model_validate({"data": {"name": "imagenet", "path": str(tmp_path / "tree"), "classes": 2}})
    data = cut_data(settings, 8, tmp_path / "cut")
    assert (data.classes, data.path) == (2, str(tmp_path / "cut"))
    assert len(list((tmp_path / "cut").glob("train/*/*.jpg"))) == 8
    assert len(list((tmp_path / "cut").glob("val/*/*.jpg"))) == 2
    assert all(image.read_bytes() == b"x" for image in (tmp_path / "cut").glob("*/*/*.jpg"))
