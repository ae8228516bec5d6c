"""What a batch script must do, checked on the rendered text: our templates, a site's own template and its `directives`.

The contract, for authors of templates (`scheduler.template`; ours are in templates/):

- **Name.** The job's name is `{{ name }}` unchanged: jobs are found, adopted and cancelled by it. For an array
  (`elements` is not empty) it is the array's, with the directive `#SBATCH --array={{ elements | ranges }}`.
- **Output.** The script's output before it opens its log is appended to the file `log` of the folder that it is
  submitted from (PBS: to `{{ output }}`, with standard error); after that all output is appended to `log` in
  `{{ folder | sh }}`.
- **Requeue.** A directive states the rule of `site.requeue` (PBS: `job.requeue`), since cluster defaults differ.
- **Time.** The time limit is `{{ time_limit }}` (PBS: `{{ walltime }}`), and the trial is warned before it:
  `--signal=USR1@{{ warn_before }}`, PBS: AIPERF_ORCH_WARN_AT.
- **Trust.** `{% include "guard.sh.j2" %}` precedes every command that uses the campaign directory.
- **Command.** `{{ command }}` runs once on each node, with `folder` set and `{{ pickle }}` linked to
  `JOBID_submitted.pkl` in it.
- **Environment.** The variables of `aiperf_orch.trial.runtime.allocation` are exported.
- **Order.** Where `after` is not empty, the job waits for the end of the job with that id: `#SBATCH
  --dependency=afterany:{{ after }}`, PBS: `#PBS -W depend=afterany:{{ after }}`.
- **Allocations.** Where `scheduler.allocations` is set, the template is that of an allocation, best a copy of ours,
  `{% extends "slurm.sh.j2" %}` and blocks. Its job gets no signal before its time limit (the agents warn their trials:
  export AIPERF_ORCH_ENDS_AT, its end in seconds since 1970), is never requeued, and goes on without a lost node: Slurm
  `#SBATCH --no-kill` and one `srun --no-kill --kill-on-bad-exit=0`, PBS `#PBS -W tolerate_node_failures=all`. It ends
  when `{{ command }}` has ended on all nodes; the command itself starts an agent again that was killed.
- The job has no other dependency, no earliest start and no hold, and the submission does not wait for the job: the
  controller decides when a trial starts, and treats a job that will not start without intervention as stuck.

Only what the text shows is checked; a script that passes may still be wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.util.job_files import PICKLE, SUBMIT_MODULE


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation of the contract.

    Attributes:
        line: the script's line; empty where something is missing.
        message: what is wrong.
        advice: what to do.
        is_fault: whether it keeps a campaign from running correctly; otherwise it is a warning.
    """

    line: str
    message: str
    advice: str
    is_fault: bool = True

    def __str__(self) -> str:
        """Return line, message and advice in one line."""
        return f"{self.line}: {self.message}: {self.advice}" if self.line else f"{self.message}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Expected:
    """Values that the script of a job must contain.

    Attributes:
        name: the job's name, or the array's.
        output: file of the script's first output.
        requeue: whether the scheduler may requeue the job.
        nodes: number of nodes.
        elements: indices of an array's elements, `0-3,7`; empty for a job that is in no array.
        is_allocation: whether the job is an allocation, with agents.
    """

    name: str
    output: str
    requeue: bool = False
    nodes: int = 1
    elements: str = ""
    is_allocation: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a directive: its name without dashes, its value (may be empty), and the directive's line."""

    name: str
    value: str
    line: str


def directive_lines(script: str, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the directives of a script with their words; batch systems read them up to the first command."""
    for line in script.split("\n"):
        if line.startswith((f"{prefix} ", f"{prefix}\t")):
            yield line, _words(line.removeprefix(prefix))
        elif line.strip() and not line.startswith("#"):
            return


def late_directives(script: str, prefix: str) -> Iterator[Violation]:
    """Find directives after the first command, which no batch system reads."""
    early = [line for line, _ in directive_lines(script, prefix)]
    for line in script.split("\n"):
        if line.startswith(prefix + " ") and line not in early:
            yield Violation(line, "is after the first command, where it is not read", "put it before all commands")


def required_directive(
    given: Sequence[Option], value: str, directive: str, *, missing: str, otherwise: str
) -> Iterator[Violation]:
    """Check a directive that every script must contain, with one value.

    Args:
        given: the options of this name that count: of repeated ones, those that the batch system obeys.
        value: the value that each must have.
        directive: the directive as a template writes it, `#SBATCH --job-name={{ name }}`.
        missing: what is wrong where there is none.
        otherwise: what is wrong with another value.
    """
    if not given:
        yield Violation("", missing, f"write {directive}")
    for option in given:
        if option.value != value:
            yield Violation(option.line, otherwise, f"leave it out; a template writes {directive}")


def name_violations(given: Sequence[Option], expected: Expected, directive: str) -> Iterator[Violation]:
    """Check the options that name the job; the arguments are those of `required_directive`."""
    return required_directive(
        given,
        expected.name,
        directive,
        missing="no directive names the job, so that it would be neither found nor cancelled",
        otherwise="the job would have another name than the controller queries, and be neither found nor cancelled",
    )


def output_violations(given: Sequence[Option], expected: Expected, directive: str) -> Iterator[Violation]:
    """Check the options that choose the job's first output file; the arguments are those of `required_directive`."""
    return required_directive(
        given,
        expected.output,
        directive,
        missing="no directive names the file of the job's first output, so that it would not be found",
        otherwise="the job's first output would go elsewhere, where it is not found",
    )


def requeue_violations(given: Sequence[tuple[Option, bool]], expected: Expected, directive: str) -> Iterator[Violation]:
    """Check the options that state whether the scheduler may requeue the job.

    Args:
        given: the options that count, each with whether it allows another run.
        expected: the settings' rule.
        directive: the directive as a template writes it.
    """
    if not given:
        yield Violation("", "no directive states whether the scheduler may requeue the job", f"write {directive}")
    for option, allows in given:
        if allows != expected.requeue:
            advice = f"leave it out, and set scheduler.requeue: {str(allows).lower()}"
            yield Violation(option.line, "the directive contradicts scheduler.requeue", advice)


def overridden(options: Sequence[Option], settings: Mapping[str, str]) -> Iterator[Violation]:
    """Find options that a setting chooses and a later directive changes; `settings` are names of settings by option."""
    first: dict[str, Option] = {}
    for option in options:
        before = first.setdefault(option.name, option)
        if option.value != before.value and option.name in settings:
            yield Violation(
                option.line,
                f"replaces `{before.line}`, on which the controller relies",
                f"leave it out, and set scheduler.{settings[option.name]}",
                is_fault=False,
            )


def follower_violations(script: str, leader: str) -> Iterator[Violation]:
    """Check the script of a job that depends on the end of another one.

    Args:
        script: the script, rendered with `after`.
        leader: the id of the other job.
    """
    if f"afterany:{leader}" not in script:
        yield Violation(
            "",
            "a job that must wait in the queue for the end of another one would start immediately, so that more trials "
            "than campaign.concurrency would run",
            "write {% if after %}, #SBATCH --dependency=afterany:{{ after }} "
            "(PBS: #PBS -W depend=afterany:{{ after }}), {% endif %}, or set scheduler.lookahead: 0",
        )


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # an unclosed quote: how it is read is for the batch system to decide
        return text.split()


_OF_ALLOCATIONS: Final = (("AIPERF_ORCH_ENDS_AT", True),)
"""Variables that only allocations export, and that they are faulty without it."""


def _of_trials(expected: Expected) -> tuple[tuple[str, bool], ...]:
    """Return the variables that only trials' scripts export, each with whether the script is faulty without it."""
    return ("AIPERF_ORCH_RUN", expected.requeue), ("AIPERF_ORCH_REQUEUE", expected.requeue)


def body_violations(script: str, guard: str, expected: Expected, *, is_cluster: bool) -> Iterator[Violation]:
    """Check the commands of a script.

    Args:
        script: the script as it would be submitted.
        guard: the rendered guard.sh.j2, which refuses a campaign directory that others can write.
        expected: the values that the script of this job must contain.
        is_cluster: whether a batch system runs the script, on another machine.
    """
    lines = [line for line in script.split("\n") if not line.lstrip().startswith("#")]
    code = "\n".join(lines)
    if SUBMIT_MODULE not in code:
        what = "the agents'" if expected.is_allocation else "the trial's"
        yield Violation("", f"the script does not run {what} command", "write {{ command }} where it must run")
    if guard.strip() not in script:
        yield Violation(
            "",
            "the script does not refuse a campaign directory that others can write",
            'write {% include "guard.sh.j2" %} before the first command that uses it',
        )
    if not is_cluster:
        return
    if PICKLE not in code:
        advice = 'write ln -sf {{ pickle }} "${job}_submitted.pkl" in the job\'s folder'
        yield Violation("", "the script does not link the pickle to the name that submitit expects", advice)
    if not re.search(r">>?\s*\S*log\b", code):
        advice = "write exec >>log 2>&1 in the job's folder"
        yield Violation("", "the script does not write its output to the file log", advice)
    whom = "agents" if expected.is_allocation else "trial"
    for name, is_fault in (
        ("AIPERF_ORCH_JOB_ID", True),
        ("AIPERF_ORCH_HOSTS", expected.nodes > 1),
        *(_OF_ALLOCATIONS if expected.is_allocation else _of_trials(expected)),
    ):
        if f"{name}=" not in code:
            advice = f"export {name} as our template does"
            yield Violation("", f"the script does not export {name} to the {whom}", advice, is_fault)
