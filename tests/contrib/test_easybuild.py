"""The easyconfig in contrib/ is of this version, and EasyBuild's parser and style check accept it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import aiperf_orch

_ROOT = Path(__file__).parents[2]
_EASYCONFIG = _ROOT / "contrib" / "easybuild" / f"aiperf-orch-{aiperf_orch.__version__}-foss-2025b.eb"

# --fetch: no modules tool is needed
_CHECK = """
import sys
from easybuild.framework.easyconfig.easyconfig import EasyConfig
from easybuild.framework.easyconfig.style import check_easyconfigs_style
from easybuild.tools.options import set_up_configuration

set_up_configuration(args=["--fetch", "--allow-use-as-root-and-accept-consequences", "--prefix=."], silent=True)
easyconfig = EasyConfig(sys.argv[1], validate=True)
print(easyconfig.easyblock, easyconfig.name, easyconfig.version)
sys.exit(check_easyconfigs_style([sys.argv[1]]))
"""


# requirements that a module brings along under another name
_BUNDLES = {
    "Python-bundle-PyPI": {"click", "jinja2", "markupsafe", "rich", "threadpoolctl"},
    "SciPy-bundle": {"numpy", "pandas", "scipy"},
    "PyTorch": {"torch"},
}


@pytest.fixture
def lint(tmp_path: Path) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    for name in ("easybuild.framework", "easybuild.easyblocks", "pycodestyle"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"{name} is not installed: pip install easybuild-framework easybuild-easyblocks pycodestyle")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EASYBUILD", "XDG"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # EasyBuild looks for a program `python`

    def run(easyconfig: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _CHECK, easyconfig],
            env={**environment, "HOME": str(tmp_path), "PATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_easybuild_accepts_the_easyconfig(lint: Callable[[Path], subprocess.CompletedProcess[str]]) -> None:
    done = lint(_EASYCONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"PythonBundle aiperf-orch {aiperf_orch.__version__}"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("dependencies = [", "dependancies = ["),
        ("moduleclass = 'tools'", "moduleclass = 'benchmark tool'"),
        ("moduleclass = 'tools'", "moduleclass='tools'"),
        ("homepage = ", "# homepage = "),
    ],
)
def test_easybuild_refuses_a_broken_easyconfig(
    lint: Callable[[Path], subprocess.CompletedProcess[str]], tmp_path: Path, right: str, wrong: str
) -> None:
    text = _EASYCONFIG.read_text(encoding="utf-8")
    assert right in text
    broken = tmp_path / _EASYCONFIG.name
    broken.write_text(text.replace(right, wrong), encoding="utf-8")
    assert lint(broken).returncode != 0


@pytest.mark.unit
def test_modules_and_extensions_are_all_requirements() -> None:
    parameters: dict[str, Any] = {}
    exec(_EASYCONFIG.read_text(encoding="utf-8"), parameters)  # an easyconfig is Python
    given = {item[0].lower() for item in [*parameters["dependencies"], *parameters["exts_list"]]}
    given |= set().union(*(_BUNDLES[name] for name, *_ in parameters["dependencies"] if name in _BUNDLES))
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # EasyBuild has no torchvision for this toolchain, and nothing needs it
    assert not {Requirement(line).name.lower() for line in project["dependencies"]} - given - {"torchvision"}
