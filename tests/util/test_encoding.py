"""UTF-8 in every locale: text files, output of programs, and messages of commands."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiperf_orch
from aiperf_orch.committee.withdrawals import read_withdrawals
from aiperf_orch.schedulers.slurm import inventory, squeue

_PACKAGE = Path(aiperf_orch.__file__).parent
_MODE_AT = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0}
_READERS = {"read_text": 0, "write_text": 1}
_STARTERS = {"run", "Popen", "check_output"}
_OTHER_OPENS = ("os", "Image", "tarfile", "CampaignDirectory", "cls")
_TEXT = ("text", "universal_newlines")


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _lacks_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    if name in _READERS:
        return len(call.args) <= _READERS[name]
    if name in _STARTERS:
        return any(_constant(keywords.get(each)) for each in _TEXT)
    if name not in _MODE_AT:
        return False
    if isinstance(owner, ast.Name) and owner.id in _OTHER_OPENS and name == "open":
        return False
    at = _MODE_AT[name]
    if isinstance(owner, ast.expr) and not (isinstance(owner, ast.Name) and owner.id in ("os", "tempfile", "io")):
        at = 0  # a path's own method
    mode = keywords.get("mode") or (call.args[at] if len(call.args) > at else None)
    default = "w+b" if "Temporary" in name else "r"
    return "b" not in str(_constant(mode) or default)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('rb')", False),
        ("open(path)", True),
        ("open(path, 'wb')", False),
        ("os.fdopen(number, 'w')", True),
        ("os.fdopen(number, 'rb')", False),
        ("os.open(path, flags)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, text=True, encoding='utf-8')", False),
        ("subprocess.Popen(command)", False),
        ("tempfile.NamedTemporaryFile()", False),
        ("tempfile.NamedTemporaryFile('w')", True),
    ],
)
def test_code_that_depends_on_the_locale_is_found(line: str, lacks: bool) -> None:
    [call] = _calls(ast.parse(line))
    assert _lacks_encoding(call) is lacks


def test_no_code_of_the_package_depends_on_the_locale() -> None:
    found = [
        f"{path.relative_to(_PACKAGE)}:{call.lineno}: {ast.unparse(call)[:80]}"
        for path in sorted(_PACKAGE.rglob("*.py"))
        for call in _calls(ast.parse(path.read_text(encoding="utf-8")))
        if _lacks_encoding(call)
    ]
    assert found == []


LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOTE = "Jürgens Rechner: 日本, kühl"


@pytest.mark.local
def test_a_locale_that_is_not_utf8_changes_nothing(write_site: Any, aiperf: Any, tmp_path: Path) -> None:
    site = write_site("größe.yaml", system__name=NOTE, campaign__max_trials=1)
    path = tmp_path / "Kampagne ä"
    environment = os.environ | LOCALE
    for arguments in (
        ("check", site),
        ("run", site, "--campaign-dir", path),
        ("status", path),
        ("score", path, "--format", "csv"),
        ("report", path),
        ("package", path, "--output", tmp_path / "ä.tar.gz"),
        ("verify", tmp_path / "ä.tar.gz"),
    ):
        done = aiperf(*arguments, env=environment, timeout=300)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    assert NOTE in (path / "report.html").read_text(encoding="utf-8")
    assert NOTE in (path / "result.csv").read_text(encoding="utf-8")


def test_a_path_outside_the_locale_is_reported_without_traceback(aiperf: Any, tmp_path: Path) -> None:
    done = aiperf("status", tmp_path / "日本", env=os.environ | LOCALE | {"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 2
    assert ": is not a campaign directory" in done.stderr


def test_a_manual_trial_escapes_unencodable_output(tmp_path: Path) -> None:
    script = "from aiperf_orch.util.encoding import make_streams_lenient; make_streams_lenient(); print('日')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"\\u65e5\n"


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_lines_end_as_the_program_wrote_them(odd: str, tmp_path: Path) -> None:
    rows = f"7|7|N/A|PENDING|0:00|(held{odd}by root)|n1|qk3f9-00001-1\n8|8|N/A|RUNNING|0:01|None|n2|qk3f9-00002-1\n"
    assert [row.job for row in squeue.parse_squeue(rows)] == ["7", "8"]
    shown = f"JobId=7 JobName=qk3f9-00001-1 JobState=FAILED Comment=a{odd}b ExitCode=1:0 NodeList=n1\n"
    assert list(squeue.parse_scontrol(shown)) == [("qk3f9-00001-1", "7")]
    nodes = f"main|idle|4|8|1000|(null)|big{odd}memory\n"
    assert [group.count for group in inventory.parse_nodes(nodes)] == [4]
    withdrawals = tmp_path / "withdrawn"
    withdrawals.write_text(f"qk3f9, asked{odd}for\n", encoding="utf-8")
    assert list(read_withdrawals(withdrawals)) == ["qk3f9"]
