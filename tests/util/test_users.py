"""Users without an entry in the user database, as in a container."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.slurm import survey
from aiperf_orch.util import users


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No user has a name."""

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nameless")
def test_a_user_without_an_entry_is_known_by_the_environment_or_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    assert users.current_user() == str(os.getuid())
    assert users.user_identifiers() == []
    monkeypatch.setenv("USER", "ada")
    assert users.current_user() == "ada"
    assert users.user_identifiers() == ["ada"]


@pytest.mark.usefixtures("nameless")
def test_schedulers_are_queried_for_a_user_without_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Submitter.current().user == str(os.getuid())
    queried: list[str] = []

    def checked_output(command: list[str], **_: Any) -> str:
        queried.extend(command)
        return "AccountingStorageType = accounting_storage/slurmdbd\n" if "config" in command else ""

    monkeypatch.setattr(survey, "checked_output", checked_output)
    survey.survey(None, timeout=1)
    assert any(str(os.getuid()) in word for word in queried)


@pytest.mark.local
def test_a_user_without_any_name_runs_and_packs_a_campaign(
    preload: Callable[[str], Path], write_site: Callable[..., Path], tmp_path: Path
) -> None:
    library, site = preload("nouser"), write_site()
    run, package = ["run", site, "--campaign-dir", "C"], ["package", "C", "--output", "C.tar.gz", "--pseudonyms"]
    for command in (run, package):
        done = subprocess.run(
            [sys.executable, "-m", "aiperf_orch.cli", *command],
            env={"PATH": os.environ["PATH"], "LD_PRELOAD": os.fspath(library)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
