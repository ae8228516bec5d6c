"""Checks of the directives in a PBS batch script; `schedulers.script_contract` describes the requirements."""

from __future__ import annotations

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
    required_directive,
)

_PREFIX: Final = "#PBS"
_FLAGS: Final = "hVzXIf"
"""Options of qsub without a value."""

_SETTINGS: Final = {
    "q": "queue", "A": "account", "P": "project", "M": "mail_user", "m": "mail_points", "l walltime": "time_limit",
    "l select": "cpus, gpus, memory or chunk", "l place": "place",
}  # fmt: skip
"""Settings that determine options of qsub."""

_LATER: Final = "leave it out; to start later, start the campaign later"
_REFUSED: Final = {
    "h": ("a held job does not start until a user releases it", _LATER),
    "a": ("a trial would wait for that time", "leave it out, and start the campaign then"),
    "W depend": ("a trial would wait for another job", "leave it out, and start the campaign when that job has ended"),
    "W block": ("qsub would not answer before the job has ended", "leave it out: `aiperf-orch run` waits by itself"),
    "W sandbox": (
        "the job's first output would go elsewhere, and would not be found",
        "leave it out; to run the trial in another folder, set scheduler.setup: [cd /some/folder]",
    ),
    "J": ("one trial would be several jobs", "leave it out: campaign.concurrency is the number of simultaneous trials"),
    "I": ("an interactive job runs no script", "leave it out"),
    "z": ("qsub would not print the job's id, which would be unknown", "leave it out"),
    "e": ("the job's first errors would go elsewhere, and would not be found", "leave it out"),
    "R": ("PBS would delete the job's output", "leave it out"),
    "C": ("the other directives would not be read", "leave it out"),
}
_DOUBTED: Final = {
    "V": (
        "the whole environment of the login node would be passed to the job, which corrupts the output of qstat",
        "leave it out, and set variables by scheduler.setup: [export NAME=value]",
    ),
    "v": (
        "PBS damages quotes and backslashes in it",
        "leave it out, and set variables by scheduler.setup: [export NAME=value]",
    ),
}


def violations(script: str, expected: Expected) -> Iterator[Violation]:
    """Check the directives of a script, and yield the violations."""
    options = [option for line, words in directive_lines(script, _PREFIX) for option in _options(line, words)]
    yield from name_violations(_named(options, "N"), expected, "#PBS -N {{ name }}")
    yield from output_violations(_named(options, "o"), expected, "#PBS -o {{ output }}")
    for name, value, problem in (
        ("j", "oe", "the job's first errors would not stand in its output"),
        ("S", "/bin/bash", "the script would be run by another shell than bash"),
    ):
        missing = f"no directive -{name}: {problem}"
        yield from required_directive(
            _named(options, name), value, f"#PBS -{name} {value}", missing=missing, otherwise=problem
        )
    rules = [(option, option.value == "y") for option in _named(options, "r")]
    yield from requeue_violations(rules, expected, '#PBS -r {{ "y" if job.requeue else "n" }}')
    if not any(option.name == "l walltime" for option in options):
        message = "no directive limits the time of a job, which then gets the queue's default"
        yield Violation("", message, "write #PBS -l walltime={{ walltime }}", is_fault=False)
    if expected.is_allocation and expected.nodes > 1 and not any(_tolerates(option) for option in options):
        advice = "write #PBS -W tolerate_node_failures=all"
        yield Violation("", "a lost node would end the whole allocation", advice, is_fault=False)
    for option in options:
        for table, is_fault in ((_REFUSED, True), (_DOUBTED, False)):
            if option.name in table and option.value not in ("block=false", "n"):
                yield Violation(option.line, *table[option.name], is_fault)
    for option in options:
        if option.name == "k" and option.value != "n" and "d" not in option.value:
            message = "the job's first output would stay on its node, and would not be found"
            yield Violation(option.line, message, "leave it out, or write -k oed")
    yield from overridden(options, _SETTINGS)
    yield from late_directives(script, _PREFIX)


def _options(line: str, words: Sequence[str]) -> Iterator[Option]:
    """Parse the options of a directive; -l and -W have one option for each name, such as `W depend`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or len(word) < 2:
            continue
        while word[1:] and word[1] in _FLAGS:
            yield Option(word[1], "", line)
            word = f"-{word[2:]}"
        if not word[1:]:
            continue
        name, value = word[1], word[2:] or (rest.pop(0) if rest else "")
        if name in "Wl":
            for part in value.split(","):
                yield Option(f"{name} {part.partition('=')[0]}", part, line)
        else:
            yield Option(name, value, line)


def _tolerates(option: Option) -> bool:
    return option.value == "tolerate_node_failures=all"


def _named(options: Sequence[Option], name: str) -> list[Option]:
    return [option for option in options if option.name == name]
