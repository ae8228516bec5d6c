"""Check of a Slurm script's directives against the contract in `aiperf_orch.schedulers.script_contract`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from aiperf_orch.schedulers.script_contract import (
    Expected,
    Option,
    Violation,
    directive_lines,
    late_directives,
    name_violations,
    output_violations,
    overridden,
    requeue_violations,
)

_PREFIX: Final = "#SBATCH"
_LETTERS: Final = {
    "J": "job-name", "o": "output", "e": "error", "a": "array", "d": "dependency", "H": "hold", "b": "begin",
    "W": "wait", "k": "no-kill", "D": "chdir", "t": "time", "p": "partition", "A": "account", "q": "qos",
    "C": "constraint", "x": "exclude", "M": "clusters", "N": "nodes", "c": "cpus-per-task", "n": "ntasks", "G": "gpus",
}  # fmt: skip
_FLAGS: Final = ("hold", "wait", "parsable", "test-only", "requeue", "no-requeue", "exclusive", "no-kill")
"""Options without a value: the next word is another option, or is ignored."""

_SETTINGS: Final = {
    "time": "time_limit", "partition": "partition", "account": "account", "qos": "qos", "reservation": "reservation",
    "constraint": "constraint", "exclude": "exclude", "clusters": "cluster", "nodes": "nodes",
    "cpus-per-task": "cpus_per_task", "mem": "memory", "gres": "gpus_per_node", "gpus-per-node": "gpus_per_node",
    "comment": "comment", "mail-user": "mail_user", "mail-type": "mail_type", "ntasks-per-node": "nodes",
}  # fmt: skip
"""Settings that choose an option."""

_REFUSED: Final = {
    "hold": (
        "a held job does not start until a user releases it",
        "leave it out; to start later, start the campaign later",
    ),
    "dependency": (
        "a trial would wait for another job",
        "leave it out, and start the campaign when that job has ended",
    ),
    "begin": ("a trial would wait for that time", "leave it out, and start the campaign then"),
    "wait": ("sbatch would not answer before the job has ended", "leave it out: `aiperf-orch run` waits by itself"),
    "test-only": ("nothing would be submitted", "leave it out: `aiperf-orch check` tests the script"),
    "chdir": (
        "the job would write its first output elsewhere, where it is not found",
        "leave it out; to choose the trial's working directory, use scheduler.setup: [cd /some/folder]",
    ),
}
_DISCOURAGED: Final = {
    "parsable": ("sbatch is called with it anyway", "leave it out"),
    "export": (
        "the script sets the trial's environment itself",
        "leave it out, and set variables by scheduler.setup: [export NAME=value]",
    ),
    "export-file": (
        "the script sets the trial's environment itself",
        "leave it out, and set variables by scheduler.setup: [. /the/file]",
    ),
}
_KNOWN: Final = frozenset(
    {
        *_LETTERS.values(),
        *_SETTINGS,
        *_REFUSED,
        *_DISCOURAGED,
        *_FLAGS,
        "open-mode",
        "signal",
        "time-min",
        "wait-all-nodes",
    }
)


def violations(script: str, expected: Expected) -> Iterator[Violation]:
    """Find the violations of the contract in the directives."""
    options = [option for line, words in directive_lines(script, _PREFIX) for option in _options(line, words)]
    yield from _name_and_array(options, expected)
    yield from _output(options, expected)
    yield from _requeue(options, expected)
    yield from _time(options)
    yield from _survives_lost_nodes(options, script, expected) if expected.is_allocation else _warning(options)
    if not script.startswith("#!"):
        yield Violation("", "sbatch accepts no script without an interpreter", "begin it with #!/usr/bin/env bash")
    for option in options:
        for table, is_fault in ((_REFUSED, True), (_DISCOURAGED, False)):
            if option.name in table and option.value != "ALL":  # an --export=ALL changes nothing
                yield Violation(option.line, *table[option.name], is_fault)
    yield from overridden(options, _SETTINGS)
    yield from late_directives(script, _PREFIX)


def _options(line: str, words: Sequence[str]) -> Iterator[Option]:
    """Yield the options of a directive, by their long names."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _full_name(name)
        elif word.startswith("-") and len(word) > 1:
            name, value = _LETTERS.get(word[1], word[1]), word[2:].removeprefix("=")
            equals = value
        else:
            continue
        if not equals and name not in _FLAGS and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        yield Option(name, value, line)


def _full_name(name: str) -> str:
    """Return the full name of an option; sbatch accepts unique abbreviations."""
    if name in _KNOWN or len(name) < 3:
        return name
    matches = [known for known in _KNOWN if known.startswith(name)]
    return matches[0] if len(matches) == 1 else name


def _last(options: Sequence[Option], *names: str) -> Option | None:
    """Return the last of several options, which is the one that counts; None without one."""
    return next((option for option in reversed(options) if option.name in names), None)


def _name_and_array(options: Sequence[Option], expected: Expected) -> Iterator[Violation]:
    name, array = _last(options, "job-name"), _last(options, "array")
    yield from name_violations([name] if name else [], expected, "#SBATCH --job-name={{ name }}")
    if expected.elements and (array is None or array.value != expected.elements):
        advice = "a template writes {% if elements %}, #SBATCH --array={{ elements | ranges }}, {% endif %}"
        message = f"the script would submit other elements of the array than {expected.elements}"
        yield Violation(array.line if array else "", message, advice)
    elif array is not None and not expected.elements:
        advice = "leave it out: campaign.concurrency is the number of concurrent trials"
        yield Violation(array.line, "one trial would be several jobs", advice)


def _output(options: Sequence[Option], expected: Expected) -> Iterator[Violation]:
    output, error, mode = _last(options, "output"), _last(options, "error"), _last(options, "open-mode")
    yield from output_violations([output] if output else [], expected, f"#SBATCH --output={expected.output}")
    if error is not None and error.value != expected.output:
        yield Violation(
            error.line, "the job's first errors would go elsewhere, where they are not found", "leave it out"
        )
    if mode is not None and mode.value != "append":
        advice = "leave it out; a template writes #SBATCH --open-mode=append"
        yield Violation(mode.line, "a second run of the job would delete the output of the first", advice)


def _requeue(options: Sequence[Option], expected: Expected) -> Iterator[Violation]:
    rule = _last(options, "requeue", "no-requeue")
    given = [(rule, rule.name == "requeue")] if rule else []
    yield from requeue_violations(given, expected, '#SBATCH --{{ "requeue" if site.requeue else "no-requeue" }}')


def _time(options: Sequence[Option]) -> Iterator[Violation]:
    if _last(options, "time") is None:
        message = "no directive limits the time of a job, which then gets the partition's default"
        yield Violation("", message, "write #SBATCH --time={{ time_limit }}", is_fault=False)


def _warning(options: Sequence[Option]) -> Iterator[Violation]:
    """Check that a trial is warned before its time limit."""
    signals = [option for option in options if option.name == "signal"]
    if not signals:
        advice = "write #SBATCH --signal=USR1@{{ warn_before }}"
        yield Violation("", "the trial is not warned before its time limit", advice, is_fault=False)
    for option in signals[1:]:
        if option.value != signals[0].value:
            advice = "leave it out, and set scheduler.warn_before"
            yield Violation(option.line, "the trial would not be warned before its time limit as it expects", advice)


def _survives_lost_nodes(options: Sequence[Option], script: str, expected: Expected) -> Iterator[Violation]:
    """Check that an allocation goes on without a lost node or agent, and that no signal ends its agents."""
    for option in options:
        if option.name == "signal":
            yield Violation(
                option.line, "the signal would end the agents, which warn their trials themselves", "leave it out"
            )
    if expected.nodes == 1:
        return
    if not any(option.name == "no-kill" for option in options):
        yield Violation("", "a lost node would end the whole allocation", "write #SBATCH --no-kill", is_fault=False)
    if re.search(r"\bsrun\b", script) and "--kill-on-bad-exit=0" not in script:
        message = "an agent that fails may end all others"
        yield Violation("", message, "write srun --no-kill --kill-on-bad-exit=0 --wait=0", is_fault=False)
