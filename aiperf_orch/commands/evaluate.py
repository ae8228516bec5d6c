"""`evaluate`: measure the error that regulates a package's score again, with its weights."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.package.evaluation import Judgement, evaluation_input, judge
from aiperf_orch.package.recorded_error import RecordedError
from aiperf_orch.records.evaluation import Evaluation, EvaluationRequest
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible


def evaluate_package(package: Path, data: Path | None, form: str) -> CommandOutput:
    """Verify a package, measure its error again, and compare.

    Args:
        package: The file, with weights.
        data: Folder of the data set; None for a data set that needs none.
        form: `table` or `json`.

    Returns:
        The comparison, and the exit status: 0 if the recorded error comes out, 1 if it does not.

    Raises:
        UsageError: If it cannot be evaluated, with the reason.
    """
    with evaluation_input(package, data) as (recorded, request):
        measured = _measure(request)
    if measured.images != recorded.epoch.val_images:
        raise UsageError(f"--data: has {measured.images} validation images; {recorded.epoch.val_images} are recorded")
    judged = judge(recorded, measured)
    text = _json(recorded, measured, judged) if form == "json" else _table(package, recorded, measured, judged)
    return CommandOutput(text, ExitStatus.DONE if judged.comes_out else ExitStatus.FAILED, form)


def _measure(request: EvaluationRequest) -> Evaluation:
    """Evaluate in a process of its own, which loads torch; its messages go to standard error."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(request.to_line())
        file.flush()
        # -P: files of the present folder are not importable
        command = [sys.executable, "-P", "-m", "aiperf_orch.trial.evaluate", file.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode == UsageError.exit_status:
        raise UsageError(done.stdout.decode(errors="replace").strip())
    if done.returncode:
        ended = f"with exit status {done.returncode}; see its messages above"
        if done.returncode < 0:
            ended = f"by signal {-done.returncode} (the kernel kills a process if memory does not suffice)"
        raise UsageError(f"the network was not evaluated: its process ended {ended}")
    return Evaluation.model_validate_json(done.stdout)


def _json(recorded: RecordedError, measured: Evaluation, judged: Judgement) -> str:
    document = {
        "comes_out": judged.comes_out,
        "difference": judged.difference,
        "tolerance": judged.tolerance,
        "same_conditions": judged.same_conditions,
        "recorded": {
            "trial": recorded.epoch.trial,
            "epoch": recorded.epoch.epoch,
            "images": recorded.epoch.val_images,
            "wrong_images": recorded.wrong_images,
            "device": recorded.begin.device,
            "precision": recorded.begin.precision,
        },
        "measured": measured.model_dump(),
    }
    return json.dumps(document, indent=2) + "\n"


def _table(package: Path, recorded: RecordedError, measured: Evaluation, judged: Judgement) -> str:
    verdict = "the recorded error comes out" if judged.comes_out else "THE RECORDED ERROR DOES NOT COME OUT"
    conditions = "as recorded" if judged.same_conditions else "another device or precision than recorded"
    epoch, begin = recorded.epoch, recorded.begin
    was = _error(recorded.wrong_images, epoch.val_images, begin.device, begin.precision)
    rows = {
        "package": visible(str(package)),
        "recorded": f"{was}, epoch {epoch.epoch} of trial {epoch.trial}",
        "measured": _error(measured.wrong_images, measured.images, measured.device, measured.precision),
        "difference": f"{judged.difference:,} images; {judged.tolerance:,} permitted ({conditions})",
    }
    return "\n".join([verdict, *(f"{name:<16} {text}" for name, text in rows.items())]) + "\n"


def _error(wrong: int, images: int, device: str, precision: str) -> str:
    return f"{wrong / images:.2%} ({wrong:,} of {images:,} images) on {visible(device)} in {visible(precision)}"
