"""Fixtures of private Slurm clusters for all tests; `tests/conftest.py` loads them.

Without the system's programs the tests are skipped; with AIPERF_ORCH_REQUIRE_SLURM=1, which CI sets, they fail.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.slurm import SlurmCluster, foreign_variables, missing_program


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets in it; that of `tmp_path` may be too long."""
    temporary = tempfile.gettempdir()
    path = Path(tempfile.mkdtemp(prefix="aiperf-", dir=temporary if len(temporary) < 40 else "/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def need_slurm():
    """Skips a test, or fails it where Slurm is required, if a program is not installed."""

    def need(*, accounting: bool = False) -> None:
        missing = missing_program(accounting=accounting)
        if missing is not None:
            message = f"{missing} is not installed"
            if os.environ.get("AIPERF_ORCH_REQUIRE_SLURM") == "1":
                pytest.fail(message)
            pytest.skip(message)

    return need


def _running(need_slurm, folder: Path, *, accounting: bool) -> Iterator[SlurmCluster]:
    need_slurm(accounting=accounting)
    folder.mkdir()
    with SlurmCluster(folder, accounting=accounting) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_cluster(need_slurm, short_path) -> Iterator[SlurmCluster]:
    """The session's cluster without accounting; tests use `slurm`."""
    yield from _running(need_slurm, short_path / "s", accounting=False)


@pytest.fixture(scope="session")
def slurm_accounting_cluster(need_slurm, short_path) -> Iterator[SlurmCluster]:
    """The session's cluster with accounting; tests use `slurm_accounting`."""
    yield from _running(need_slurm, short_path / "a", accounting=True)


def _in_use(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    yield cluster
    cluster.tidy()


@pytest.fixture
def slurm(slurm_cluster, monkeypatch) -> Iterator[SlurmCluster]:
    """A real Slurm cluster of 4 nodes without jobs, which Slurm's commands use; it is cleaned up afterwards."""
    yield from _in_use(slurm_cluster, monkeypatch)


@pytest.fixture
def slurm_accounting(slurm_accounting_cluster, monkeypatch) -> Iterator[SlurmCluster]:
    """A cluster like `slurm`, with accounting, limits and QOS."""
    yield from _in_use(slurm_accounting_cluster, monkeypatch)
