"""Nothing that records, names of files and settings hold reaches the terminal as more than text."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands import live_view, messages
from aiperf_orch.commands.escaped_output import VisibleStream, unwrapped, visible_streams
from aiperf_orch.records.journal import Began, BeganRecord, Opened
from terminal import in_terminal

Run = Callable[..., subprocess.CompletedProcess[str]]
_EVIL = "\x1b]0;owned\x07\x1b[2J\u202e[red]\x9b"
_SHOWN = r"\x1b]0;owned\x07\x1b[2J\u202e[red]\x9b"


def _is_harmless(done: subprocess.CompletedProcess[str]) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in done.stdout + done.stderr)


@pytest.fixture
def evil(campaign: Callable[..., Any]) -> Any:
    """A campaign in whose records somebody has put escapes: hosts, job, messages, epochs that do not count."""
    made = campaign()
    made.write(Opened, host=f"login{_EVIL}", pid=1)
    made.submit(0)
    made.events(
        made.begin(hosts=[f"n1{_EVIL}\nn2"], job=_EVIL, device=_EVIL),
        made.epoch(1, 2),
        f'{{"type":"{_EVIL}"}}',
        trial=0,
    )
    began = BeganRecord(trial=0, attempt=1, run=0, time=made.at(0), hosts=[f"n1{_EVIL}\nn2"], job=_EVIL)
    made.write(Began, attempts=[began])
    made.submit(1)
    made.ended(trial=1, runs=0, reason="LOST", message=f"the log ends: {_EVIL}\r=1+1\nCOMPLETED")
    return made


def test_status_shows_hosts_and_messages_without_escapes(aiperf: Run, evil: Any) -> None:
    done = aiperf("status", evil.path)
    assert done.returncode == 0
    assert _is_harmless(done)
    assert f"n1{_SHOWN}\\nn2" in done.stdout
    assert "the log ends: " in done.stdout
    assert len(done.stdout.partition("\ntrial ")[2].splitlines()) == 1 + 2


@pytest.mark.parametrize("command", ["score", "report", "stop", "tick"])
def test_no_command_prints_escapes_of_records(aiperf: Run, evil: Any, command: str) -> None:
    assert _is_harmless(aiperf(command, evil.path))


@pytest.mark.parametrize("command", ["status", "verify", "rank", "scaling", "ops", "check", "render", "trial", "run"])
def test_errors_show_names_of_files_without_escapes(aiperf: Run, tmp_path: Path, command: str) -> None:
    name = f"{_EVIL}\udcff.csv"
    (tmp_path / name).write_bytes(b"no such thing")
    done = aiperf(command, name, *([name] if command == "scaling" else []))
    assert done.returncode or command == "rank"
    assert _is_harmless(done)
    assert r"\x1b]0;owned\x07" in done.stdout + done.stderr


def test_wrong_arguments_and_keys_are_shown_without_escapes(aiperf: Run, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('campaign: {"\\e[31mx": 1}\n"\\u202ey": 2\n')
    for arguments in (["status", "a", _EVIL], [_EVIL], ["check", "site.yaml"], ["run", "site.yaml", "--set", _EVIL]):
        done = aiperf(*arguments)
        assert done.returncode == 2
        assert _is_harmless(done), arguments


def test_csv_holds_no_formula_and_json_every_text(aiperf: Run, evil: Any) -> None:
    evil.submit(2)
    evil.ended(trial=2, runs=0, reason="LOST", message="=HYPERLINK(0)")
    rows = list(csv.DictReader(io.StringIO(aiperf("status", evil.path, "--format", "csv").stdout)))
    assert rows[2]["why"] == "'=HYPERLINK(0)"
    document = json.loads(aiperf("status", evil.path, "--format", "json").stdout)
    assert document["trials"][2]["why"] == "=HYPERLINK(0)"
    assert document["trials"][0]["host"] == f"n1{_EVIL}\nn2"


def test_on_a_terminal_csv_has_no_escapes_either(evil: Any) -> None:
    _, seen = in_terminal(
        sys.executable, "-m", "aiperf_orch.cli", "status", str(evil.path), "--format", "csv", columns=60
    )
    assert "trial,state" in seen
    assert r"\x1b]0;owned" in seen
    assert "\x1b" not in seen


def test_the_live_view_interprets_no_markup_and_no_escape() -> None:
    script = """
import sys
from types import SimpleNamespace as Live
from aiperf_orch.commands import live_view
from aiperf_orch.commands.escaped_output import visible_streams
evil = "\\x1b]0;owned\\x07[red]red[/red] [/blue] \\u202e"
with visible_streams(), live_view.display() as view:
    assert isinstance(view, live_view.LiveView)
    view.warn(evil)
    print(evil, file=sys.stderr)
    live = Live(
        attempt=Live(trial=1), planned=Live(epochs=2), epochs=[], begin=Live(hosts=[evil]), note=evil, trial=None
    )
    picture = live_view.Picture((), (live_view._running_trial(live),), "", ())
    view._screen.draw(live_view.layout(picture, 200, 24))
"""
    _, seen = in_terminal(sys.executable, "-c", script, columns=200)
    assert "Traceback" not in seen
    assert seen.count("[red]red[/red] [/blue]") >= 3
    assert "\x1b]0;" not in seen
    assert "\u202e" not in seen


def test_streams_are_wrapped_once_and_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with visible_streams(), visible_streams():
        assert unwrapped(sys.stderr) is before
        assert isinstance(sys.stderr, VisibleStream)
        print("a\x1b[2J\n\tb", file=sys.stderr)
    assert sys.stderr is before
    assert capsys.readouterr().err == "a\\x1b[2J\n\tb\n"


def test_plain_lines_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    messages.configure()
    with messages.timed_messages():
        live_view.PlainLines().warn(f"a{_EVIL}\nb")
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning: .*", line)
    assert line.endswith(f"warning: a{_SHOWN}\\nb")
