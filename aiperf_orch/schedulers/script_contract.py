"""What a batch script must do, checked on the rendered text: ours, a site's own template, and a site's `directives`.

The contract, for whoever writes a template (`scheduler.template`; ours lie in templates/):

- **Name.** The job's name is `{{ name }}` as it is: jobs are found, adopted and cancelled by it. Of an array
  (`elements` is not empty) it is the array's, and `#SBATCH --array={{ elements | ranges }}` stands there.
- **Output.** What the script says before it opens its log goes to the file `log` of the folder that it is submitted
  from (PBS: to `{{ output }}`, standard error joined), appended; then it goes to `log` in `{{ folder | sh }}` at
  once.
- **Requeue.** The rule is said, as `site.requeue` (PBS: `job.requeue`) has it, since clusters differ in their
  default.
- **Time.** The limit is `{{ time_limit }}` (PBS: `{{ walltime }}`), and the trial is warned: `--signal=USR1@{{
  warn_before }}`, PBS: AIPERF_ORCH_WARN_AT.
- **Trust.** `{% include "guard.sh.j2" %}` stands before anything of the campaign is run.
- **Command.** `{{ command }}` is run once a node, with `folder` set and `{{ pickle }}` linked as
  `JOBID_submitted.pkl` in it.
- **Environment.** The variables that `aiperf_orch.trial.runtime.allocation` lists are exported.
- **Order.** Where `after` is not empty, the job waits until the one with that id has ended: `#SBATCH
  --dependency=afterany:{{ after }}`, PBS: `#PBS -W depend=afterany:{{ after }}`.
- Nothing else makes the job wait for another, for a time, or to be released, and nothing makes the submission wait for
  the job: the controller decides when a trial starts, and takes a job that will not run by itself for stuck.

What is checked is what can be read in the text; a script that passes may still be wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.util.job_files import PICKLE

_COMMAND: Final = "submitit.core._submit"


@dataclass(frozen=True, slots=True)
class Violation:
    """What a script does against the contract: its `line` (empty where something is missing), why, and what to do.

    A fault keeps a campaign from running as it should; what is none is a warning.
    """

    line: str
    message: str
    advice: str
    is_fault: bool = True

    def __str__(self) -> str:
        """One line."""
        return f"{self.line}: {self.message}: {self.advice}" if self.line else f"{self.message}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the script of a job must say; `elements` are an array's, and empty for a job of its own."""

    name: str
    output: str
    requeue: bool = False
    nodes: int = 1
    elements: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a directive: its name without dashes, its value (empty without one), and its line."""

    name: str
    value: str
    line: str


def directive_lines(script: str, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """The directives of a script with their words: batch systems read them up to the first command."""
    for line in script.split("\n"):
        if line.startswith((f"{prefix} ", f"{prefix}\t")):
            yield line, _words(line.removeprefix(prefix))
        elif line.strip() and not line.startswith("#"):
            return


def late_directives(script: str, prefix: str) -> Iterator[Violation]:
    """Directives behind the first command, which no batch system reads."""
    early = [line for line, _ in directive_lines(script, prefix)]
    for line in script.split("\n"):
        if line.startswith(prefix + " ") and line not in early:
            yield Violation(line, "stands behind the first command, where it is not read", "put it before all commands")


def overridden(options: Sequence[Option], settings: Mapping[str, str]) -> Iterator[Violation]:
    """Options that occur twice with different values, though each has a setting; `settings` by the option's name."""
    first: dict[str, Option] = {}
    for option in options:
        before = first.setdefault(option.name, option)
        if option.value != before.value and option.name in settings:
            yield Violation(
                option.line,
                f"replaces `{before.line}`, which the controller counts on",
                f"leave it out, and set scheduler.{settings[option.name]}",
                is_fault=False,
            )


def follower_violations(script: str, leader: str) -> Iterator[Violation]:
    """What the script of a job that must wait for the end of another says against the contract.

    Args:
        script: rendered with `after`.
        leader: the id of the other job.
    """
    if f"afterany:{leader}" not in script:
        yield Violation(
            "",
            "a job that is to wait in the queue for the end of another would start at once, and more trials than "
            "campaign.concurrency would be at work",
            "write {% if after %}, #SBATCH --dependency=afterany:{{ after }} (PBS: #PBS -W depend=afterany:{{ after }}), "
            "{% endif %}, or set scheduler.lookahead: 0",
        )


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that is not closed: the batch system says what it makes of it
        return text.split()


def body_violations(script: str, guard: str, expected: Expected, *, is_cluster: bool) -> Iterator[Violation]:
    """What the commands of a script do against the contract.

    Args:
        script: as it would be submitted.
        guard: the part that refuses a campaign which others can write, as it must stand there.
        expected: what the script of this job must say.
        is_cluster: whether a batch system runs it, elsewhere than here.
    """
    lines = [line for line in script.split("\n") if not line.lstrip().startswith("#")]
    code = "\n".join(lines)
    if _COMMAND not in code:
        yield Violation("", "the script does not run the trial's command", "write {{ command }} where it shall run")
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
        yield Violation("", "the script does not give what it runs the name that submitit looks for", advice)
    if not re.search(r">>?\s*\S*log\b", code):
        advice = "write exec >>log 2>&1 in the job's folder"
        yield Violation("", "the script does not write its output to the file log", advice)
    for name, is_fault in (
        ("AIPERF_ORCH_JOB_ID", True),
        ("AIPERF_ORCH_HOSTS", expected.nodes > 1),
        ("AIPERF_ORCH_RUN", expected.requeue),
        ("AIPERF_ORCH_REQUEUE", expected.requeue),
    ):
        if f"{name}=" not in code:
            advice = f"export {name} as our own template does"
            yield Violation("", f"the script does not tell the trial {name}", advice, is_fault)
