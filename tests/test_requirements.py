"""Requirements of the metadata: PyTorch is the site's, and pip leaves the one that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

_EXTRA = {"scikit-learn", "torch", "torchvision"}
# of the sources: the metadata of an editable installation stay those of the day on which it was made
_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_EXTRAS = _PROJECT["optional-dependencies"]
_REQUIRES = [
    *_PROJECT["dependencies"],
    *(f'{text}; extra == "{extra}"' for extra, requires in _EXTRAS.items() for text in requires),
]
_REQUIREMENTS = [Requirement(text) for text in _REQUIRES]


def _of_extra(name: str) -> list[Requirement]:
    """The requirements of an extra; the name "" stands for the plain installation."""
    chosen = [each for each in _REQUIREMENTS if (each.marker is None) is (name == "")]
    return [each for each in chosen if each.marker is None or each.marker.evaluate({"extra": name})]


@pytest.mark.unit
def test_the_plain_installation_is_without_pytorch() -> None:
    assert _of_extra("")
    assert _EXTRA.isdisjoint(each.name for each in _of_extra(""))


@pytest.mark.unit
def test_only_the_extra_torch_names_pytorch_and_without_upper_bounds() -> None:
    naming = [each for each in _REQUIREMENTS if each.name in _EXTRA]
    assert {each.name for each in naming} == _EXTRA
    assert naming == _of_extra("torch")
    assert {specifier.operator for each in naming for specifier in each.specifier} == {">="}
    assert any("torch" in each.extras for each in _of_extra("test"))


def _write_distribution(folder: Path, name: str, version: str, *requires: str) -> None:
    """Install a made-up distribution: its metadata alone."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(_metadata_text(name, version, *requires), encoding="utf-8")
    (info / "INSTALLER").write_text("pip\n", encoding="utf-8")


def _metadata_text(name: str, version: str, *requires: str, extras: Iterable[str] = ()) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {each}" for each in extras]
    lines += [f"Requires-Dist: {each}" for each in requires]
    return "\n".join(lines) + "\n"


def _write_wheel(folder: Path, name: str, version: str, *requires: str, extras: Iterable[str] = ()) -> Path:
    """Write a wheel of nothing but metadata."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", _metadata_text(name, version, *requires, extras=extras))
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def _installed_by_pip(tmp_path: Path, extra: str, installed: dict[str, tuple[str, ...]]) -> set[str]:
    """Names that pip would install or replace, in an environment that has all else.

    Args:
        tmp_path: Folder of the test.
        extra: Extra of aiperf-orch, in brackets; empty for the plain installation.
        installed: Distribution -> version and requirements, of what the site has.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "site"], check=True)
    [packages] = (tmp_path / "site" / "lib").glob("python*/site-packages")
    for each in _of_extra(""):
        lowest = next(part.version for part in each.specifier if part.operator == ">=")
        _write_distribution(packages, each.name, lowest)
    for name, (version, *requires) in installed.items():
        _write_distribution(packages, name, version, *requires)
    index = tmp_path / "index"  # has later releases, which an upgrade could take
    index.mkdir()
    _write_wheel(index, "torch", "2.99.0")
    _write_wheel(index, "torchvision", "0.99.0", "torch==2.99.0")
    wheel = _write_wheel(tmp_path, "aiperf-orch", "1.0", *_REQUIRES, extras=_EXTRAS)
    command = [sys.executable, "-m", "pip", "--python", str(tmp_path / "site"), "install", "--quiet", "--dry-run"]
    command += ["--no-index", "--find-links", str(index), "--report", "-", f"{wheel}{extra}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {each["metadata"]["name"] for each in json.loads(done.stdout)["install"]} - {"aiperf-orch"}


@pytest.mark.parametrize(
    ("torch", "torchvision"), [("2.14.1", "0.29.1"), ("2.15.0a0+nv26.6", "0.30.0a0+nv26.6"), ("2.8.0+cu128", "0.23.0")]
)
def test_the_extra_leaves_a_torch_with_its_torchvision(torch: str, torchvision: str, tmp_path: Path) -> None:
    site = {"torch": (torch,), "torchvision": (torchvision, f"torch=={torch}"), "scikit-learn": ("1.4.0",)}
    assert _installed_by_pip(tmp_path, "[torch]", site) == set()


@pytest.mark.parametrize("torch", ["2.5.1", "2.7.0a0+nv25.03", "2.14.1"])
def test_the_plain_installation_leaves_any_torch(torch: str, tmp_path: Path) -> None:
    assert _installed_by_pip(tmp_path, "", {"torch": (torch,)}) == set()


def test_the_extra_replaces_a_torch_that_is_too_old(tmp_path: Path) -> None:
    site = {"torch": ("2.6.0",), "torchvision": ("0.21.0", "torch==2.6.0"), "scikit-learn": ("1.4.0",)}
    assert _installed_by_pip(tmp_path, "[torch]", site) == {"torch", "torchvision"}
