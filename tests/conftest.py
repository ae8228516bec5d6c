"""Fixtures that tests of several packages share: built campaigns, and the command line as a subprocess."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from pbs.instance import Pbs

from aiperf_orch.settings.loading import load_site
from aiperf_orch.util.units import now
from campaign_builder import SMALL_IMAGES, SMALL_OPERATIONS, CampaignBuilder

pytest_plugins = ["browser", "cluster.fixtures", "image_tree", "package_fixtures", "placed_fixtures"]

# the installed package is tested: no process that a test starts imports from the present folder
os.environ["PYTHONSAFEPATH"] = "1"

# a shell starts background jobs with SIGINT ignored, and processes that tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine causes no failure; random examples need `--hypothesis-profile=explore`, so that only changes fail CI
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("explore", deadline=None, suppress_health_check=_QUIET)
settings.register_profile("any machine", settings.get_profile("explore"), derandomize=True)
settings.register_profile("unit", settings.get_profile("any machine"), max_examples=5)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Generate few examples where only the unit tests run, which then take about two seconds a room."""
    if config.option.markexpr == "unit":
        settings.load_profile("unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files whose tests run jobs first, those of unit tests last, and else those with many first.

    Workers take whole files in this order (`--no-loadscope-reorder`): one of minutes that began last would run alone.
    """
    tests = Counter(item.path for item in items)
    units = Counter(item.path for item in items if item.get_closest_marker("unit"))
    jobs = {item.path for item in items if any(map(item.get_closest_marker, ("local", "slurm", "pbs")))}

    def place(item: pytest.Item) -> tuple[bool, bool, int, Path]:
        return item.path not in jobs, units[item.path] == tests[item.path], -tests[item.path], item.path

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    """Restores the umask, which commands that run in the process of a test restrict."""
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(mask)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Lets torch compute in one thread: those of several workers of pytest would wait for each other's cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module without unit tests where only these run: torch need not be installed."""
    if config.option.markexpr != "unit" or collection_path.suffix != ".py":
        return None
    return "pytest.mark.unit" not in collection_path.read_text(encoding="utf-8") or None


@pytest.fixture
def write_site(tmp_path: Path) -> Callable[..., Path]:
    """Writes a site file with simulated trials of no duration, each a job; `campaign__duration="2h"` is a setting."""

    def write(name: str = "site.yaml", **changes: Any) -> Path:
        data: dict[str, Any] = {
            "scheduler": {"poll_interval": "50ms"},
            "campaign": {"duration": "1h", "max_trials": 2},
            "training": {
                "trainer": "simulated",
                "warmup_epochs": [2],
                "epochs": 5,
                "simulated": {"epoch_seconds": 0},
            },
        }
        for key, value in changes.items():
            section, _, field = key.partition("__")
            data.setdefault(section, {})[field] = value
        if data["scheduler"].get("kind", "local") == "local":
            data["scheduler"].setdefault("job_per_trial", True)
        path = tmp_path / name
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture
def campaign(tmp_path: Path, write_site: Callable[..., Path]) -> Callable[..., CampaignBuilder]:
    """Builds campaigns with small numbers; `training__epochs=9` changes a setting.

    They began two hours ago, last one hour, and have up to 50 epochs a trial. An epoch has 220 operations. `kind` is
    the class of the builder.
    """

    def build(name: str = "campaign", kind: type[CampaignBuilder] = CampaignBuilder, **changes: Any) -> CampaignBuilder:
        site = write_site(f"{name}.yaml", **{"training__warmup_epochs": [50]} | changes)
        loaded = load_site(site)
        builder = kind(
            tmp_path / name,
            loaded.settings,
            origins=loaded.origins,
            start=now() - timedelta(hours=2),
            images=SMALL_IMAGES,
            operations=SMALL_OPERATIONS,
        )
        builder.site = site
        return builder

    return build


@pytest.fixture
def aiperf(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a subprocess, and asserts that it never ends with a traceback."""

    def run(*arguments: Any, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "aiperf_orch.cli", *map(os.fspath, arguments)],
            cwd=options.pop("cwd", tmp_path),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
            **options,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Returns the bytes of every file in a folder except the lock, which each controller replaces."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "controller.lock"
        }

    return read


@pytest.fixture
def fails_if_blocked() -> Iterator[None]:
    """Fails the test when it blocks, as opening or reading a pipe without a writer does."""

    def blocked(_number: int, _frame: Any) -> None:
        pytest.fail("the test blocks")

    before = signal.signal(signal.SIGALRM, blocked)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of half a megabyte; mounting it requires root."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("a small file system cannot be mounted")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], timeout=60, check=True)


@pytest.fixture
def fill() -> Callable[[Path], None]:
    """Fills the small disk completely."""

    def fill(disk: Path) -> None:
        with (disk / "filler").open("wb", buffering=0) as file:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)

    return fill


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pbs]:
    """A private OpenPBS stand-in with two nodes, its programs first on PATH."""
    with Pbs(tmp_path / "pbs") as instance:
        monkeypatch.setenv("PATH", instance.environment["PATH"])
        yield instance


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a library of `tests/preload`; its first lines explain what it changes in a process that preloads it."""
    folder = tmp_path_factory.mktemp("preload")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")

    @cache
    def build(name: str) -> Path:
        library = folder / f"{name}.so"
        source = Path(__file__).parent / "preload" / f"{name}.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
        return library

    return build
