"""Jobs of allocations: their scripts, and what they do on real and imitated batch systems with an agent of the test."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.schedulers import local
from aiperf_orch.schedulers.allocation_jobs import (
    agent_command,
    allocation_request,
    make_allocation_scheduler,
    supervised,
)
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.settings.models import SiteSettings
from processes import Running, running
from waiting import wait_for

WRITE_GOLDEN = os.environ.get("WRITE_GOLDEN") == "1"
GOLDEN = Path(__file__).parent / "golden"
NAME = "qk3f9-a00001"
SLURM = {
    "kind": "slurm",
    "python": "/opt/python/bin/python",
    "cpus_per_task": 8,
    "gpus_per_node": 1,
    "memory": "60G",
    "modules": ["cuda"],
    "setup": ["export A=1"],
    "allocations": {"nodes": 184, "time_limit": "12h", "cpus_per_node": 64, "gpus_per_node": 8},
}
PBS = {
    "kind": "pbs",
    "python": "/opt/python/bin/python",
    "cpus": 8,
    "gpus": 1,
    "memory": "60gb",
    "modules": ["cuda"],
    "setup": ["export A=1"],
    "allocations": {"nodes": 3, "time_limit": "12h", "cpus_per_node": 64, "gpus_per_node": 8},
}

# Records how it was started, then waits for a file of its own: `KILL` and `end` end it.
AGENT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (say("SIGTERM"), sys.exit(0)))
rank = os.environ.get("SLURM_PROCID") or os.environ.get("AIPERF_ORCH_RANK") or "0"
def say(*words):
    with open(f"agent-{rank}", "a") as file:
        print(*words, file=file, flush=True)
names = ("JOB_ID", "HOSTS", "ENDS_AT")
say("begin", os.uname().nodename, os.getpid(), *(os.environ.get(f"AIPERF_ORCH_{name}") for name in names))
say("threads", os.environ.get("OMP_NUM_THREADS"), "affinity", len(os.sched_getaffinity(0)))
while not os.path.exists("end"):
    time.sleep(0.1)
say("end")
sys.exit(int(open("end").read() or 0))
"""


def _settings(scheduler: dict[str, Any]) -> Any:
    return SiteSettings.model_validate({"scheduler": scheduler}).scheduler


def _request(settings: Any, campaign: Path, **fields: Any) -> JobRequest:
    return dataclasses.replace(allocation_request(Layout(campaign), settings, NAME), **fields)


def test_an_agent_is_a_command_with_the_directory_and_its_allocation(tmp_path: Path) -> None:
    command = agent_command(_settings({"kind": "local"}), tmp_path, NAME)
    assert command == (sys.executable, "-P", "-m", "aiperf_orch.agent", str(tmp_path), "--allocation", NAME)
    assert agent_command(_settings(SLURM), tmp_path, NAME)[0] == "/opt/python/bin/python"


@pytest.mark.parametrize(
    "scheduler", [{"kind": "slurm"}, {"kind": "pbs"}, {"kind": "local", "job_per_trial": True}, {"kind": "agents"}]
)
def test_without_allocations_there_is_no_scheduler_of_them(scheduler: dict[str, Any]) -> None:
    assert make_allocation_scheduler(_settings(scheduler), 1) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the allocation's job in a campaign directory."""
    campaign = tmp_path / "campaign"
    folder = Layout(campaign).allocation_folder(NAME)
    folder.mkdir(parents=True, mode=0o700)
    campaign.chmod(0o700)
    return folder


def test_the_scripts_of_allocations_match_the_golden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local_cores = ["2", "3"]
    monkeypatch.setattr(local, "available_cores", lambda: local_cores)
    monkeypatch.setattr(local, "_processes", lambda *_: [])
    at_home = {"kind": "local", "job_per_trial": False, "cores_per_trial": 4, "python": "/opt/python/bin/python"}
    for name, scheduler in (("slurm", SLURM), ("pbs", PBS), ("local", at_home)):
        settings = _settings(scheduler)
        made = make_allocation_scheduler(settings, 2)
        assert made is not None
        fields: dict[str, Any] = {} if name == "local" else {"time_limit": 7000.0, "after": "17"}
        script = made.render(_request(settings, Path("/scratch/me/campaign"), **fields))
        file = GOLDEN / f"{name}-allocation.sh"
        if WRITE_GOLDEN:
            file.write_text(script)
        assert script == file.read_text()


def test_a_node_of_an_allocation_has_the_memory_of_all_its_slots(tmp_path: Path) -> None:
    for scheduler, line in ((SLURM, "--mem=480G"), (SLURM | {"memory": "0"}, "--mem=0"), (PBS, ":mem=480gb:")):
        settings = _settings(scheduler)
        made = make_allocation_scheduler(settings, 2)
        assert made is not None
        assert line in made.render(_request(settings, tmp_path))


class Allocation:
    """An allocation on a batch system, with agents of the test."""

    def __init__(self, folder: Path, scheduler: dict[str, Any]) -> None:
        self.folder, settings = folder, _settings(scheduler)
        made = make_allocation_scheduler(settings, 2)
        assert made is not None
        self.scheduler = made
        agent = folder / "agent.py"
        agent.write_text(AGENT)
        command = supervised((sys.executable, str(agent)))
        self.request = JobRequest(NAME, folder, folder, folder.parents[1], command)
        self.job = ""

    def submit(self, **fields: Any) -> None:
        """Submit the job."""
        result = self.scheduler.submit([dataclasses.replace(self.request, **fields)])
        assert result.jobs.keys() == {NAME}, result
        self.job = result.jobs[NAME]

    def lines(self, rank: int) -> list[list[str]]:
        """What the agents of a rank wrote."""
        file = self.folder / f"agent-{rank}"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def begins(self, *ranks: int) -> list[list[str]]:
        """The begins of the agents of these ranks."""
        return [line for rank in ranks for line in self.lines(rank) if line[0] == "begin"]

    def wait_for_agents(self, *ranks: int, starts: int = 1) -> list[list[str]]:
        """Wait until each of these agents has begun so often; returns its last begin."""
        wait_for(lambda: all(len(self.begins(rank)) >= starts for rank in ranks), f"agents {ranks} began")
        wait_for(lambda: all(self.lines(rank)[-1][0] == "threads" for rank in ranks), "the agents' last lines")
        return [self.begins(rank)[-1] for rank in ranks]

    def end(self, status: int | None = None) -> None:
        """Let all agents end."""
        (self.folder / "end").write_text("" if status is None else str(status))

    def wait_for_end(self) -> None:
        """Wait until the job has left the queue, and no process of it is left."""
        wait_for(lambda: not self.processes(), "no process of the job is left")
        wait_for(lambda: not self.alive(), "the job has left the queue")

    def alive(self) -> bool:
        """Whether the queue lists the job as alive."""
        return any(status.state.value != "ended" for status in self.scheduler.query([NAME]).values())

    def processes(self) -> list[Running]:
        """Processes whose command line names the folder."""
        return [each for each in running() if any(str(self.folder) in word for word in each.words)]

    def agent(self, rank: int) -> psutil.Process:
        """The process of an agent, whose own id may be that of another namespace."""
        for each in self.processes():
            if each.words[-1].endswith("agent.py") and each.words[0] == sys.executable:
                number = each.environment.get("SLURM_PROCID") or each.environment.get("AIPERF_ORCH_RANK") or "0"
                if number == str(rank):
                    return each.process
        raise AssertionError(f"agent {rank} does not run: {self.log()}")

    def log(self) -> str:
        """The job's log."""
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


ON_SLURM = {
    "kind": "slurm",
    "cpus_per_task": 1,
    "memory": "100M",
    "allocations": {"nodes": 2, "time_limit": "10m", "cpus_per_node": 2},
}


@pytest.fixture
def on_slurm(slurm: Any, folder: Path) -> Any:
    """Makes an allocation on the private Slurm cluster."""
    return lambda **changes: Allocation(folder, ON_SLURM | changes)


@pytest.mark.slurm
def test_slurm_starts_one_agent_on_each_node(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    begins = allocation.wait_for_agents(0, 1)
    hosts = slurm.run("scontrol", "show", "job", allocation.job).stdout
    assert [begin[3] for begin in begins] == [allocation.job] * 2
    assert begins[0][4] == begins[1][4]
    names = begins[0][4].split(",")
    assert len(set(names)) == 2
    assert "NumNodes=2" in hosts
    assert "NumCPUs=4" in hosts
    assert allocation.lines(0)[1] == ["threads", "None", "affinity", allocation.lines(0)[1][3]]
    left = float(begins[0][5]) - (allocation.folder / "agent-0").stat().st_mtime
    assert 500 < left <= 605
    steps = slurm.run("squeue", "--steps", "--noheader", "--format=%i").stdout.split()
    assert f"{allocation.job}.0" in steps
    assert f"{allocation.job}.1" not in steps
    allocation.end()
    allocation.wait_for_end()
    assert slurm.state(allocation.job) == "COMPLETED"


@pytest.mark.slurm
def test_a_killed_agent_is_started_again_on_its_node(on_slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    first = allocation.wait_for_agents(0, 1)
    allocation.agent(1).send_signal(signal.SIGKILL)
    second = allocation.wait_for_agents(1, starts=2)
    assert second[0][1] == first[1][1]
    assert len(allocation.begins(0)) == 1
    assert "the agent was killed (exit status 137)" in allocation.log()
    allocation.end()
    allocation.wait_for_end()


@pytest.mark.slurm
def test_an_agent_that_fails_ends_alone(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    agent = allocation.agent(1)
    allocation.end(3)
    wait_for(lambda: not agent.is_running(), "the agent has ended")
    allocation.wait_for_end()
    assert len(allocation.begins(0, 1)) == 2
    assert slurm.state(allocation.job) == "FAILED"


@pytest.mark.slurm
def test_a_lost_node_does_not_end_the_allocation(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    begins = allocation.wait_for_agents(0, 1)
    lost = begins[0][4].split(",")[1]
    slurm.kill_node(lost)
    slurm.down(lost)
    wait_for(lambda: "down" in slurm.run("sinfo", "-h", "-n", lost, "-o", "%T").stdout, "the node is down")
    assert slurm.state(allocation.job) == "RUNNING"
    allocation.agent(0).send_signal(signal.SIGKILL)
    allocation.wait_for_agents(0, starts=2)  # agents are started again on the nodes that are left
    assert allocation.alive()
    allocation.end()
    allocation.wait_for_end()


@pytest.mark.slurm
def test_scancel_ends_an_allocation_and_its_agents(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    allocation.scheduler.cancel({NAME: allocation.job}, force=False)
    wait_for(lambda: all(allocation.lines(rank)[-1] == ["SIGTERM"] for rank in (0, 1)), "the agents got SIGTERM")
    allocation.wait_for_end()
    assert len(allocation.begins(0, 1)) == 2


@pytest.mark.slurm
def test_scancel_of_a_user_ends_an_allocation_at_once(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    slurm.run("scancel", allocation.job)
    allocation.wait_for_end()
    assert slurm.state(allocation.job) == "CANCELLED"
    assert len(allocation.begins(0, 1)) == 2


@pytest.mark.slurm
def test_an_allocation_of_one_node_without_srun(on_slurm: Any, slurm: Any) -> None:
    allocation = on_slurm(launcher="none", allocations={"nodes": 1, "time_limit": "10m"})
    allocation.submit()
    first = allocation.wait_for_agents(0)
    allocation.agent(0).send_signal(signal.SIGKILL)
    second = allocation.wait_for_agents(0, starts=2)
    assert first[0][3:5] == second[0][3:5] == [allocation.job, first[0][4]]
    allocation.end()
    allocation.wait_for_end()
    assert slurm.state(allocation.job) == "COMPLETED"


@pytest.fixture(params=["pbs_tmrsh", "pbsdsh", "mpiexec"])
def on_pbs(pbs: Any, folder: Path, request: pytest.FixtureRequest) -> Any:
    """Makes an allocation on the stand-in of PBS, for each launcher."""
    scheduler = {"kind": "pbs", "launcher": request.param, "allocations": {"nodes": 2, "time_limit": "10m"}}
    return lambda **changes: Allocation(folder, scheduler | changes)


@pytest.mark.pbs
def test_pbs_starts_one_agent_on_each_node(on_pbs: Any, pbs: Any) -> None:
    allocation = on_pbs()
    allocation.submit()
    begins = allocation.wait_for_agents(0, 1)
    assert [begin[3] for begin in begins] == [allocation.job] * 2
    assert begins[0][4] == begins[1][4] == "pbsn1,pbsn2"
    assert begins[0][5] == begins[1][5]
    assert 500 < float(begins[0][5]) - (allocation.folder / "agent-0").stat().st_mtime <= 600
    assert allocation.lines(0)[1][:2] == ["threads", "None"]
    allocation.end()
    allocation.wait_for_end()
    assert pbs.job(allocation.job)["Exit_status"] == 0


@pytest.mark.pbs
def test_pbs_keeps_agents_through_kills_and_a_lost_node(on_pbs: Any, pbs: Any) -> None:
    allocation = on_pbs()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    allocation.agent(1).send_signal(signal.SIGKILL)
    allocation.wait_for_agents(1, starts=2)
    if allocation.scheduler._settings.launcher != "mpiexec":  # an MPI ends all tasks with one
        pbs.node_down("pbsn2")
        allocation.agent(0).send_signal(signal.SIGKILL)
        allocation.wait_for_agents(0, starts=2)
        assert allocation.alive()
    allocation.end()
    allocation.wait_for_end()
    assert pbs.job(allocation.job)["Exit_status"] == 0


@pytest.mark.pbs
def test_an_agent_that_fails_ends_alone_on_pbs(on_pbs: Any, pbs: Any) -> None:
    allocation = on_pbs()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    allocation.end(3)
    allocation.wait_for_end()
    assert [allocation.lines(rank)[-1] for rank in (0, 1)] == [["end"], ["end"]]
    assert pbs.job(allocation.job)["Exit_status"] == 0


@pytest.mark.pbs
@pytest.mark.parametrize("end", ["qdel", "walltime"])
def test_pbs_gives_agents_the_time_to_end(on_pbs: Any, pbs: Any, end: str) -> None:
    allocation = on_pbs()
    allocation.submit()
    allocation.wait_for_agents(0, 1)
    if end == "qdel":
        allocation.scheduler.cancel({NAME: allocation.job}, force=False)
    else:
        pbs.exceed_walltime(allocation.job)
    allocation.wait_for_end()
    assert [allocation.lines(rank)[-1] for rank in (0, 1)] == [["SIGTERM"], ["SIGTERM"]]
    assert len(allocation.begins(0, 1)) == 2


@pytest.mark.pbs
def test_a_pbs_allocation_of_one_node(on_pbs: Any, pbs: Any) -> None:
    allocation = on_pbs(allocations={"nodes": 1, "time_limit": "10m"}, cpus=2)
    allocation.submit()
    allocation.wait_for_agents(0)
    allocation.agent(0).send_signal(signal.SIGKILL)
    assert allocation.wait_for_agents(0, starts=2)[0][3:5] == [allocation.job, "pbsn1"]
    allocation.scheduler.cancel({NAME: allocation.job}, force=False)
    allocation.wait_for_end()
    assert allocation.lines(0)[-1] == ["SIGTERM"]


@pytest.mark.local
def test_the_agent_of_this_machine_runs_again_after_a_kill(folder: Path) -> None:
    allocation = Allocation(folder, {"kind": "local", "job_per_trial": False})
    allocation.submit()
    cores = min(2, len(local.available_cores()))
    begin = allocation.wait_for_agents(0)[0]
    assert begin[3:] == [allocation.job, os.uname().nodename, "None"]
    assert allocation.lines(0)[1] == ["threads", "None", "affinity", str(cores)]
    allocation.agent(0).send_signal(signal.SIGKILL)
    allocation.wait_for_agents(0, starts=2)
    allocation.scheduler.cancel({NAME: allocation.job}, force=False)
    allocation.wait_for_end()
    assert allocation.lines(0)[-1] == ["SIGTERM"]
