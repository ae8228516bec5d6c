"""Completion in the shells that are installed, as a user types, and what a shell waits for."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Any

import pytest

from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.setting_facts import setting_keys

Ask = Callable[..., subprocess.CompletedProcess[str]]
Words = Callable[..., list[str]]
_BIN = Path(sys.executable).parent
_START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
_SETUP = {
    "bash": "bind 'set enable-bracketed-paste off'; source {script}",
    "zsh": "autoload -U compinit; compinit -u -D; source {script}",
}
_LATE = 60  # seconds


@pytest.fixture(autouse=True)
def _campaigns(tmp_path: Path) -> None:
    """Folders that are campaigns to a shell, and others."""
    for name in ("campaigns/first", "campaigns/second", "here", "my runs/one", ".hidden"):
        folder = tmp_path / "home" / name
        folder.mkdir(parents=True)
        (folder / "campaign.yaml").touch()
    (tmp_path / "home" / "other" / "empty").mkdir(parents=True)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks the program as bash does for what the last of these arguments may be."""

    def ask(*typed: str, **environment: str) -> subprocess.CompletedProcess[str]:
        asked = {
            "_AIPERF_ORCH_COMPLETE": "bash_complete",
            "COMP_WORDS": "\n".join(["aiperf-orch", *typed]),
            "COMP_CWORD": str(len(typed)),
        }
        return subprocess.run(
            [_BIN / "aiperf-orch"],
            cwd=tmp_path / "home",
            env=os.environ | asked | environment,
            capture_output=True,
            text=True,
            timeout=_LATE,
            check=True,
        )

    return ask


@pytest.fixture
def words(ask: Ask) -> Words:
    """The words that are offered for the last of these arguments."""

    def words(*typed: str) -> list[str]:
        done = ask(*typed)
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1] if done.stdout.strip() else []

    return words


class _Shell:
    """An interactive shell in a pseudo-terminal, with the script of `completion`."""

    def __init__(self, name: str, script: Path, folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "HOME": str(folder), "PATH": f"{_BIN}:{os.environ['PATH']}"}
        self._process = subprocess.Popen(
            [name, *_START[name]],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(self._ours, f"{_SETUP[name].format(script=script)}; echo 're'ady\n".encode())
        self._read_until("ready")

    def arguments(self, keys: str) -> list[str]:
        """The words of a line that is typed, with tabs; the shell prints them in place of running it."""
        os.write(self._ours, f"{keys}\x01printf '<<%s>>' \x05; echo 'e'nd\n".encode())
        return re.findall(r"<<([^%<>]+)>>", self._read_until(">>end"))

    def _read_until(self, text: str) -> str:
        """What it writes until this text; it answers the questions of a shell about its terminal."""
        seen, deadline = "", time.monotonic() + _LATE
        while text not in seen.replace("\r", ""):
            assert time.monotonic() < deadline, seen
            if select([self._ours], [], [], 1)[0]:
                seen += os.read(self._ours, 65536).decode(errors="replace")
        return seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_LATE)
        os.close(self._ours)


@pytest.mark.parametrize("name", _START)
def test_a_shell_completes_as_a_user_types(name: str, aiperf: Any, tmp_path: Path) -> None:
    shell = _Shell(name, _script(name, aiperf, tmp_path), tmp_path / "home")
    try:
        assert shell.arguments("aiperf-orch stat\t") == ["aiperf-orch", "status"]
        assert shell.arguments("aiperf-orch status campaigns/f\t") == ["aiperf-orch", "status", "campaigns/first"]
        assert shell.arguments("aiperf-orch stop my\t") == ["aiperf-orch", "stop", "my runs/one"]
        # no blank follows KEY=
        assert shell.arguments("aiperf-orch run x --set campaign.dur\t2h --dry\t")[3:] == [
            "--set",
            "campaign.duration=2h",
            "--dry-run",
        ]
    finally:
        shell.close()


def _script(shell: str, aiperf: Any, folder: Path) -> Path:
    """The file with a shell's script."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = folder / "script"
    path.write_text(aiperf("completion", shell).stdout, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("aiperf-orch stat", ["status"]),
        ("aiperf-orch status campaigns/f", ["campaigns/first"]),
        ("aiperf-orch run x --set campaign.dur", ["campaign.duration="]),
    ],
)
def test_fish_completes(line: str, offered: list[str], aiperf: Any, tmp_path: Path) -> None:
    script = _script("fish", aiperf, tmp_path)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        cwd=tmp_path / "home",
        env={**os.environ, "HOME": str(tmp_path / "home"), "PATH": f"{_BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=_LATE,
        check=True,
    )
    assert [word.partition("\t")[0] for word in done.stdout.splitlines()] == offered


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("status", ""), ["campaigns/first", "campaigns/second", "here", "my runs/one"]),
        (("status", "campaigns/"), ["campaigns/first", "campaigns/second"]),
        (("log", "campaigns/s"), ["campaigns/second"]),
        (("stop", "./he"), ["./here"]),
        (("score", ".h"), [".hidden"]),
        (("run", "--campaign-dir", "h"), ["here"]),
        (("run", "--campaign-dir", "=", "h"), ["here"]),
        (("check", "site.yaml", "--campaign-dir", "h"), ["here"]),
        (("run", "site.yaml", "--set", "campaign.dur"), ["campaign.duration="]),
        (("run", "site.yaml", "--set", "=", "campaign.dur"), ["campaign.duration="]),
        (("run", "site.yaml", "--set", "campaign.seed", "=", "1", "--set", "search.bat"), ["search.batch_size="]),
        (("set", "here", "campaign.conc"), ["campaign.concurrency="]),
        (("set", "here", "campaign.seed"), []),
        (("set", "here", "campaign.concurrency", "=", ""), []),
        (("set", "here", "campaign.concurrency", "=", "8", "data.sta"), ["data.stage=", "data.stage_readers="]),
        (("explain", "campaign.dur"), ["campaign.duration"]),
        (("explain", "camp"), ["campaign", *(key for key in setting_keys() if key.startswith("campaign."))]),
        (("comp",), ["completion", "compare"]),
    ],
    ids=" ".join,
)
def test_words_are_offered(words: Words, typed: tuple[str, ...], offered: list[str]) -> None:
    assert words(*typed) == [f"plain,{word}" for word in offered]


@pytest.mark.parametrize("beginning", ["other/", "nowhere/x", "~/campaigns"])
def test_folders_are_left_to_the_shell_where_there_is_no_campaign(words: Words, beginning: str) -> None:
    assert words("status", beginning) == [f"dir,{beginning}"]


def test_every_setting_and_every_changeable_one_is_offered(words: Words) -> None:
    assert words("run", "site.yaml", "--set", "") == [f"plain,{key}=" for key in setting_keys()]
    assert words("set", "here", "") == [f"plain,{key}=" for key in CHANGEABLE]


@pytest.mark.parametrize(
    ("typed", "imports_settings"),
    [(("st",), False), (("status", ""), False), (("run", "x", "--set", "c"), True), (("set", "here", "c"), True)],
)
def test_a_tab_waits_for_no_heavy_import(ask: Ask, typed: tuple[str, ...], *, imports_settings: bool) -> None:
    done = ask(*typed, PYTHONPROFILEIMPORTTIME="1")
    loaded = set(re.findall(r"\| +(\w+)", done.stderr))
    assert "click" in loaded
    assert not loaded & {"torch", "pandas", "numpy", "submitit", "jinja2", "psutil", "sklearn", "optuna"}
    assert ("pydantic" in loaded) is imports_settings
