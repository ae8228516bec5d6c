"""Every command that a document shows can be parsed, and those that need no cluster run on a small campaign."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from aiperf_orch.cli import main
from aiperf_orch.commands.examples import EXAMPLES
from documentation.shown_commands import DOCUMENTS, ROOT, ShownCommand, commands_in

Run = Callable[..., subprocess.CompletedProcess[str]]
_ON_A_CAMPAIGN = ("status", "score", "report", "tick", "stop")
_ON_PACKAGES = ("verify", "rank", "compare", "scaling")
_QUICK = """
system: {number_of_nodes: 1}
scheduler: {advanced: {job_per_trial: true, poll_interval: 50ms}}
campaign: {max_trials: 2, duration: 10m}
"""
_ELSEWHERE = ("--sign", "--signers", "--data", "--smtp", "--weights", "--commitment", "--questionnaire", "--withdrawn")
"""Options that need a key, a list, a server, a data set, or another campaign than the prepared one."""


def _shown(*, only_blocks: bool) -> list[ShownCommand]:
    found = [command for document in DOCUMENTS for command in commands_in(document)]
    return [command for command in found if command.whole or not only_blocks]


def test_documents_show_commands() -> None:
    """Otherwise the tests below test nothing."""
    documents = {command.document for command in _shown(only_blocks=True)}
    assert {"README.md", "docs/reference/commands.md", "docs/guides/committee.md"} <= documents


@pytest.mark.unit
def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(main.commands)


@pytest.mark.unit
@pytest.mark.parametrize("command", _shown(only_blocks=False), ids=str)
def test_a_shown_command_can_be_parsed(command: ShownCommand) -> None:
    name, *arguments = command.words
    assert name in main.commands, f"{command}: there is no such command"
    if _is_usage(command):
        return
    try:
        with click.Context(main, info_name="aiperf-orch") as parent:
            main.commands[name].make_context(name, arguments, parent=parent)
    except click.exceptions.Exit:
        pass  # --help
    except click.UsageError as error:
        if command.whole or not isinstance(error, click.MissingParameter):  # a sentence may leave arguments out
            pytest.fail(f"{command}: {error.format_message()}")


@pytest.mark.unit
@pytest.mark.parametrize("command", [each for each in _shown(only_blocks=True) if each.words[0] == "mail"], ids=str)
def test_a_shown_mail_has_a_sender(command: ShownCommand) -> None:
    """A drafted site file has no `system.contact`, without which `--from` is required."""
    assert _is_usage(command) or "--from" in command.words


def _is_usage(command: ShownCommand) -> bool:
    """Whether it is the usage line of the reference: `aiperf-orch run [OPTIONS] SITE`."""
    return "[OPTIONS]" in command.words


def _runnable() -> list[ShownCommand]:
    """Commands that run in seconds without cluster, keys and servers; one for each set of options."""
    found: dict[tuple[str, ...], ShownCommand] = {}
    for command in _shown(only_blocks=True):
        name, *arguments = command.words
        options = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
        if _is_usage(command) or "FILE..." in arguments or set(options) & set(_ELSEWHERE):
            continue
        if name in (*_ON_A_CAMPAIGN, *_ON_PACKAGES, "package", "ops", "render") or "--dry-run" in arguments:
            found.setdefault((name, *options), command)
    return list(found.values())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a site file, and simulated campaigns of three sizes with their packages: 0, 1, 2 and 0.tar.gz."""
    folder = tmp_path_factory.mktemp("prepared")
    site = "training: {trainer: simulated, warmup_epochs: [2], epochs: 2, advanced: {simulated: {epoch_seconds: 0}}}\n"
    (folder / "site.yaml").write_text(f"{site}{_QUICK}", encoding="utf-8")
    for number in range(3):
        size = f"system.accelerators_per_node={number + 1}"
        _run(folder, ("run", "site.yaml", "--campaign-dir", f"{number}", "--set", size))
        _run(folder, ("package", f"{number}", "--output", f"{number}.tar.gz"))
    return folder


def _run(folder: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiperf_orch.cli", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"aiperf-orch {' '.join(words)}: {done.stderr}"
    return done


@pytest.mark.local
@pytest.mark.parametrize("command", _runnable(), ids=str)
def test_a_shown_command_runs(command: ShownCommand, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "site_configs").symlink_to(ROOT / "site_configs")
    name, *arguments = command.words
    inputs = [word for word in arguments if not word.startswith("-")]
    for number, word in enumerate(inputs):
        target = tmp_path / word
        if word.endswith("site.yaml"):
            shutil.copy(prepared / "site.yaml", target)
        elif word.endswith(".tar.gz") and name in _ON_PACKAGES:
            shutil.copy(prepared / f"{number}.tar.gz", target)
        elif word.startswith("campaigns/") or (name == "scaling" and word in ("small", "medium", "large")):
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(prepared / f"{number}", target)
    assert "Traceback" not in _run(tmp_path, _without_scheduler(command.words)).stderr


def _without_scheduler(words: tuple[str, ...]) -> tuple[str, ...]:
    """Without settings of a cluster: the prepared site file is of this machine."""
    kept: list[str] = []
    for word in words:
        if word.startswith("scheduler.") and kept[-1:] == ["--set"]:
            kept.pop()
        else:
            kept.append(word)
    return tuple(kept)


def test_shown_counts_of_operations_are_those_of_the_command(aiperf: Run) -> None:
    shown = aiperf("ops", "resnet50").stdout.strip().splitlines()
    page = (ROOT / "docs" / "benchmark" / "counting.md").read_text(encoding="utf-8")
    for line in shown:
        assert f"    {line}\n" in page


@pytest.mark.local
@pytest.mark.parametrize("document", ["README.md", "docs/guides/results.md"])
def test_shown_results_have_the_words_of_the_command(document: str, prepared: Path) -> None:
    """Numbers are those of another campaign; labels, rules and sentences are compared."""
    printed = _run(prepared, ("score", "0")).stdout
    text = (ROOT / document).read_text(encoding="utf-8")
    shown = " ".join(text.split())
    for label in ("score  ", "error  ", "regulated score  ", "not rankable  ", "files  "):
        assert f"\n{label}" in f"\n{printed}", f"score does not print {label!r}"
        assert f"    {label}" in text, f"{document} does not show {label!r}"
    for rule in ("duration", "data"):
        line = next(line for line in printed.splitlines() if line.startswith(f"  {rule} "))
        assert " ".join(line.rpartition(";")[0].split()) in shown, f"{document} does not show: {line}"


@pytest.mark.local
def test_the_shown_status_has_the_columns_and_labels_of_the_command(prepared: Path) -> None:
    printed = _run(prepared, ("status", "0")).stdout.splitlines()
    shown = (ROOT / "docs" / "guides" / "running.md").read_text(encoding="utf-8").partition("$ aiperf-orch status")[2]
    lines = [line.split() for line in shown.splitlines()]
    columns = next(line.split() for line in printed if line.startswith("trial  "))
    assert columns in lines
    labels = {line[:10].strip() for line in printed[: printed.index("")]}
    assert labels <= {line.strip()[:10].strip() for line in shown.splitlines()}
