"""The distributions hold what they need, and the tests run on what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

import pytest

import aiperf_orch

_ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not os.environ.get("AIPERF_ORCH_REQUIRE_WHEEL"), reason="AIPERF_ORCH_REQUIRE_WHEEL is not set")
def test_the_installed_wheel_is_tested() -> None:
    command = [sys.executable, "-c", "import aiperf_orch; print(aiperf_orch.__file__)"]
    imported = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=True).stdout.strip()
    for file in (imported, aiperf_orch.__file__):
        assert Path(file).is_relative_to(sysconfig.get_path("purelib")), f"{file} is not of the installed wheel"


@pytest.mark.parametrize("folder", ["templates", "site_configs"])
def test_data_files_of_the_checkout_are_in_the_package(folder: str) -> None:
    packaged = {item.name for item in files(f"aiperf_orch.{folder}").iterdir() if item.is_file()}
    assert {path.name for path in (_ROOT / folder).iterdir() if path.is_file()} <= packaged


def test_schemas_of_the_checkout_are_in_the_package() -> None:
    packaged = {item.name for item in files("aiperf_orch.schemas").iterdir() if item.name.endswith(".json")}
    assert {path.name for path in (_ROOT / "aiperf_orch" / "schemas").glob("*.json")} == packaged


def test_modules_of_the_checkout_are_in_the_package() -> None:
    installed = Path(aiperf_orch.__file__).parent
    for path in (_ROOT / "aiperf_orch").rglob("*.py"):
        assert (installed / path.relative_to(_ROOT / "aiperf_orch")).exists(), f"{path} is not installed"
