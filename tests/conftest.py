"""What tests of several rooms need: campaigns written by hand, and the command line as a real process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from pbs.instance import Pbs

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.records.base import EndReason, OperationsPerImage
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import (
    AttemptEnd,
    AttemptRecord,
    Began,
    BeganRecord,
    Created,
    Ended,
    EventsFile,
    JobRecord,
    ProposalRecord,
    Submitted,
    Submitting,
)
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.settings.loading import load_site
from aiperf_orch.util.units import now

pytest_plugins = ["browser", "cluster.fixtures", "package_fixtures"]

# the installed package is tested: no process that a test starts imports from the present folder
os.environ["PYTHONSAFEPATH"] = "1"

# a shell starts what runs in the background with Ctrl-C ignored, and whatever tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine is no failure, and what chance finds is for `--hypothesis-profile=explore`: a change alone fails CI
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("explore", deadline=None, suppress_health_check=_QUIET)
settings.register_profile("any machine", settings.get_profile("explore"), derandomize=True)
settings.load_profile("any machine")

OPERATIONS = OperationsPerImage(forward=10, train=30)


class CampaignBuilder:
    """A campaign written by hand: the files that a controller and its trials would have left.

    Its clock begins at `start`, two hours ago; its networks take 10 operations to evaluate an image and 30 to train it;
    an epoch trains 4 images and validates 10, which makes 220 operations. Times are seconds after `start`.
    """

    def __init__(self, path: Path, site: Path) -> None:
        loaded = load_site(site)
        self.site = site
        self.directory = CampaignDirectory.create(path, loaded.settings, loaded.origins)
        self.path = self.directory.path
        self.start = now() - timedelta(hours=2)
        self.operations = OPERATIONS
        self.write(Created, settings_sha256=self.directory.settings_sha256, version="0.1.0")

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def write(self, kind: Any, **fields: Any) -> None:
        """Append an entry to the journal."""
        journal = Journal(self.directory.journal, lambda: None, 1)
        journal.append(kind, **fields)
        journal.close()

    def journal_lines(self) -> list[str]:
        return self.directory.journal.read_text().splitlines()

    def begin(self, at: float = 0, trial: int = 0, attempt: int = 1, run: int = 0, **changes: Any) -> Begin:
        fields: dict[str, Any] = {
            "trial": trial,
            "attempt": attempt,
            "run": run,
            "time": self.at(at),
            "hosts": ["n1"],
            "job": "123",
            "batch": 32,
            "spec_sha256": "0" * 64,
            "trainer": "simulated",
            "device": "simulated",
            "precision": "fp32",
            "cores": 1,
            "inherited": False,
            "clock_skew": 0.0,
            "versions": {},
        }
        return Begin(**fields | changes)

    def epoch(
        self,
        number: int,
        end: float,
        error: float = 0.5,
        trial: int = 0,
        attempt: int = 1,
        run: int = 0,
        start: float | None = None,
        train_images: int = 4,
        val_images: int = 10,
        operations: OperationsPerImage = OPERATIONS,
    ) -> Epoch:
        return Epoch(
            trial=trial,
            attempt=attempt,
            run=run,
            epoch=number,
            start=self.at(end - 0.001 if start is None else start),
            end=self.at(end),
            train_images=train_images,
            val_images=val_images,
            loss=1.0,
            error=error,
            ops=train_images * operations.train + val_images * operations.forward,
            batch=32,
        )

    def end(self, at: float, trial: int = 0, attempt: int = 1, run: int = 0, reason: str = "COMPLETED") -> End:
        return End(trial=trial, attempt=attempt, run=run, time=self.at(at), reason=EndReason(reason))

    def events(self, *lines: Any, trial: int = 0, attempt: int = 1, run: int = 0) -> Path:
        """Write an events file: events, texts (a newline is added) or bytes (as they are)."""
        path = self.directory.events(trial, attempt, run)
        data = [
            line if isinstance(line, bytes) else (line if isinstance(line, str) else line.to_line()).encode() + b"\n"
            for line in lines
        ]
        path.write_bytes(b"".join(data))
        return path

    def submit(self, trial: int = 0, attempt: int = 1, **proposal: Any) -> None:
        """Journal an attempt as submitted."""
        fields: dict[str, Any] = {
            "round": 0,
            "parent": None,
            "edits": [],
            "network_hash": hashlib.sha256(str(trial).encode()).hexdigest(),
            "operations": self.operations,
            "hyperparameters": Hyperparameters(kernel_size=3, dropout=0.0, batch_size=32),
        }
        record = AttemptRecord(
            trial=trial,
            attempt=attempt,
            name=self.directory.attempt_name(trial, attempt),
            spec_sha256="0" * 64,
            proposal=ProposalRecord(**fields | proposal) if attempt == 1 else None,
        )
        self.write(Submitting, attempts=[record])
        self.write(Submitted, jobs=[JobRecord(trial=trial, attempt=attempt, job="123")])

    def began(self, at: float = 0, trial: int = 0, attempt: int = 1) -> None:
        record = BeganRecord(trial=trial, attempt=attempt, run=0, time=self.at(at), hosts=["n1"], job="123")
        self.write(Began, attempts=[record])

    def ended(self, trial: int = 0, attempt: int = 1, runs: int = 1, reason: str = "COMPLETED", **fields: Any) -> None:
        """Journal an attempt's end, with its events files as they stand."""
        files = []
        for run in range(runs):
            path = self.directory.events(trial, attempt, run)
            data = path.read_bytes() if path.exists() else b""
            data = data[: data.rfind(b"\n") + 1]  # a torn line is not seen
            files.append(EventsFile(run=run, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
        fields = {"message": "", "final": True, "files": files} | fields
        self.write(Ended, attempts=[AttemptEnd(trial=trial, attempt=attempt, reason=EndReason(reason), **fields)])

    def trial(
        self,
        trial: int,
        ends: Sequence[tuple[float, float]],
        *,
        at: float = 0,
        reason: str = "COMPLETED",
        **changes: Any,
    ) -> None:
        """A whole trial of one attempt: for each epoch its end and its error."""
        self.submit(trial)
        epochs = [self.epoch(number, end, error, trial) for number, (end, error) in enumerate(ends, start=1)]
        last = ends[-1][0] if ends else at
        self.events(self.begin(at, trial, **changes), *epochs, self.end(last, trial, reason=reason), trial=trial)
        self.began(at, trial)
        best = min((error for _, error in ends), default=None)
        self.ended(
            trial,
            reason=reason,
            epochs=len(ends),
            ops=220 * len(ends),
            best_error=best,
            best_epoch=next((number for number, (_, error) in enumerate(ends, start=1) if error == best), None),
            last_end=self.at(last) if ends else None,
        )


@pytest.fixture
def write_site(tmp_path: Path) -> Callable[..., Path]:
    """Writes a site file of simulated trials that take no time; `campaign__duration="2h"` changes a setting."""

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
        path = tmp_path / name
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture
def campaign(tmp_path: Path, write_site: Callable[..., Path]) -> Callable[..., CampaignBuilder]:
    """Makes campaigns by hand; `training__epochs=9` changes a setting. By default up to 50 epochs a trial, 1 h."""

    def make(name: str = "campaign", **changes: Any) -> CampaignBuilder:
        return CampaignBuilder(
            tmp_path / name, write_site(f"{name}.yaml", **{"training__warmup_epochs": [50]} | changes)
        )

    return make


@pytest.fixture
def aiperf(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as a process of its own, and holds that it never ends with a traceback."""

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
    """The bytes of every file in a folder but the lock, which each controller replaces."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "controller.lock"
        }

    return read


@pytest.fixture
def fails_if_blocked() -> Iterator[None]:
    """Fails the test when it blocks, as opening or reading a pipe that nobody writes would."""

    def blocked(_number: int, _frame: Any) -> None:
        pytest.fail("it blocks")

    before = signal.signal(signal.SIGALRM, blocked)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of half a megabyte, which only root can make."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], timeout=60, check=True)


@pytest.fixture
def fill() -> Callable[[Path], None]:
    """Fills the small disk to its last byte."""

    def fill(disk: Path) -> None:
        with (disk / "filler").open("wb", buffering=0) as file:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)

    return fill


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pbs]:
    """A private OpenPBS stand-in of two nodes, with its programs first on PATH."""
    with Pbs(tmp_path / "pbs") as instance:
        monkeypatch.setenv("PATH", instance.environment["PATH"])
        yield instance


@pytest.fixture
def preload(tmp_path: Path) -> Callable[[str], Path]:
    """Compiles a library of `tests/preload`, whose first lines tell what it does to the process that loads it first."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")

    def build(name: str) -> Path:
        library = tmp_path / f"{name}.so"
        source = Path(__file__).parent / "preload" / f"{name}.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
        return library

    return build
