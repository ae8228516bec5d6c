"""A stand-in for Slurm of small programs, and players that write the events of its trials. Nothing really runs.

A test decides how long a command hangs, which state the queue shows for a job, and what a trial has written. Nothing of
the controller is imported, so that `benchmarks/responsiveness.py` can run earlier versions against it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun")
DOWN = "error: Unable to contact slurm controller (connect failure)"
CONFIG = "AccountingStorageType   = accounting_storage/none\nMaxArraySize            = 1001\n"

_BEFORE = r"""#!/bin/bash
D=@FOLDER@ me=${0##*/}
note() { echo "$EPOCHREALTIME|$1|$me|$2" >>"$D/calls"; }
state_of() { state=PENDING; [ ! -e "$D/states/$1" ] || read -r state <"$D/states/$1"; }
note begin "$*"
while [ -e "$D/$me.hang" ]; do sleep 0.1; done
[ ! -e "$D/$me.slow" ] || sleep "$(<"$D/$me.slow")"
if [ -e "$D/$me.fails" ]; then echo "$me: $(<"$D/$me.fails")" >&2; note end fails; exit 1; fi
"""
_ANSWERS = {
    "sbatch": r"""
script=${!#}
option() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
name=$(option job-name) after=$(option dependency) array=$(option array)
exec 9>>"$D/lock"; flock 9
read -r id <"$D/next"; echo $((id + 1)) >"$D/next"
if [ -z "$array" ]; then echo "$id|$id|N/A|${after#afterany:}|$name" >>"$D/jobs"; fi
for range in ${array//,/ }; do
    for index in $(seq "${range%-*}" "${range#*-}"); do
        echo "${id}_$index|$id|$index|${after#afterany:}|$name" >>"$D/jobs"
    done
done
echo "$id"
note end "$id"
""",
    "squeue": r"""
listed=
while IFS='|' read -r job array index after name; do
    state_of "$job"
    [ "$state" != GONE ] || continue
    listed+=" $job=$state"
    echo "$job|$array|$index|$state|0:10|None|n1|$name"
done <"$D/jobs"
note end "$listed"
""",
    "scontrol": r"""
case "$*" in
*config*) cat "$D/config" ;;
*) while IFS='|' read -r job array index after name; do
        state_of "$job"
        [ "$state" != GONE ] || continue
        echo "JobId=$array ${index:+ArrayJobId=$array ArrayTaskId=$index}" \
            "JobName=$name JobState=$state ExitCode=1:0 NodeList=n1"
    done < <(sed 's/|N.A|/||/' "$D/jobs") ;;
esac
""",
    "scancel": r"""
for job in "$@"; do
    case $job in -*) continue ;; esac
    state_of "$job"
    case "$state" in
    PENDING) echo CANCELLED >"$D/states/$job" ;;
    RUNNING) echo >"$D/signalled/$job" ;;
    esac
done
note end "$*"
""",
}


@dataclass(frozen=True)
class Job:
    """A job, or an element of an array, by the controller's name; `after` is the id of the job that it depends on."""

    id: str
    name: str
    after: str


@dataclass(frozen=True)
class Call:
    """Start or end of a program, with its arguments or its answer."""

    time: float
    edge: str
    program: str
    text: str


class SlurmStandIn:
    """The programs, in `bin` of a folder, and the files that control them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "states", "signalled"):
            (folder / name).mkdir(parents=True)
        (folder / "config").write_text(CONFIG)
        (folder / "next").write_text("5000\n")
        for name in ("jobs", "calls"):
            (folder / name).touch()
        for program in PROGRAMS:
            path = folder / "bin" / program
            text = _BEFORE.replace("@FOLDER@", f"'{folder}'") + _ANSWERS.get(program, "")
            path.write_text(text)
            path.chmod(0o700)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with the programs first on PATH and without a cluster's variables."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH_"))}
        return own | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def hang(self, program: str) -> None:
        """Make calls of a program hang until `release`, or until they are killed."""
        (self.folder / f"{program}.hang").touch()

    def release(self, program: str) -> None:
        """Let the calls of a program answer again."""
        (self.folder / f"{program}.hang").unlink(missing_ok=True)

    def slow(self, program: str, seconds: float) -> None:
        """Delay each further call of a program."""
        (self.folder / f"{program}.slow").write_text(f"{seconds}\n")

    def fail(self, program: str, message: str = DOWN) -> None:
        """Make a program fail with this message; by default it does not reach slurmctld."""
        (self.folder / f"{program}.fails").write_text(f"{message}\n")

    def mend(self, program: str) -> None:
        """Let a program succeed again."""
        (self.folder / f"{program}.fails").unlink(missing_ok=True)

    def calls(self, program: str, edge: str = "begin") -> list[Call]:
        """Return the calls of a program so far: their starts, or the ends of those that answered."""
        calls = []
        for line in (self.folder / "calls").read_text().splitlines():
            moment, seen, name, text = line.split("|", 3)
            if (name, seen) == (program, edge):
                calls.append(Call(float(moment), seen, name, text))
        return calls

    def hanging(self, program: str) -> bool:
        """Whether a call of a program has started and not answered."""
        return len(self.calls(program)) > len(self.calls(program, "end"))

    def jobs(self) -> list[Job]:
        """Return all submitted jobs, the oldest first."""
        jobs = []
        for line in (self.folder / "jobs").read_text().splitlines():
            ident, _, index, after, name = line.split("|")
            jobs.append(Job(ident, name if index == "N/A" else f"{name}[{index}]", after))
        return jobs

    def state(self, job: Job) -> str:
        """Return a job's state in the queue."""
        path = self.folder / "states" / job.id
        return path.read_text().strip() if path.exists() else "PENDING"

    def set_state(self, job: Job, state: str) -> None:
        """Set a job's state in the queue; a job that is GONE is not listed."""
        temporary = self.folder / f"{job.id}.new"
        temporary.write_text(f"{state}\n")
        temporary.replace(self.folder / "states" / job.id)

    def is_told(self, job: Job) -> bool:
        """Whether a running job was sent a signal."""
        return (self.folder / "signalled" / job.id).exists()


class Play:
    """Writes the events of a campaign's trials, and sets the states of their jobs."""

    def __init__(self, slurm: SlurmStandIn, campaign: Path) -> None:
        self.slurm, self.path = slurm, campaign
        self._epochs: dict[str, int] = {}
        self._written: dict[str, str] = {}  # time of each job's last event

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal's entries, without an incomplete last line."""
        try:
            text = (self.path / "journal.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return the attempts or jobs in the journal's entries of a kind."""
        found = [entry for entry in self.journal() if entry["type"] == kind]
        return [each for entry in found for each in entry.get("attempts", entry.get("jobs", [entry]))]

    def attempt(self, job: Job) -> tuple[int, int, str]:
        """Return trial, attempt, and the digest of the specification of a job."""
        (record,) = [each for each in self.entries("submitting") if each["name"] == job.name]
        return record["trial"], record["attempt"], record["spec_sha256"]

    def begin(self, job: Job) -> None:
        """Let the job's trial claim its attempt and begin."""
        trial, attempt, sha256 = self.attempt(job)
        self.slurm.set_state(job, "RUNNING")
        os.close(os.open(self._events(trial, attempt), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        batch = self._spec(trial)["hyperparameters"]["batch_size"]
        begin = {"time": _stamp(), "hosts": ["n1"], "job": job.id, "batch": batch, "spec_sha256": sha256}
        self._write(job, "begin", begin | _DEVICE)

    def epoch(self, job: Job) -> None:
        """Let the job's trial complete an epoch."""
        number = self._epochs[job.id] = self._epochs.get(job.id, 0) + 1
        spec = self._spec(self.attempt(job)[0])
        operations = 4 * spec["operations"]["train"] + 10 * spec["operations"]["forward"]
        counts = {"train_images": 4, "val_images": 10, "loss": 1.0, "error": 0.5, "ops": operations}
        times = {"epoch": number, "start": self._written[job.id], "end": _stamp()}
        self._write(job, "epoch", times | counts | {"batch": spec["hyperparameters"]["batch_size"]})

    def end(self, job: Job, reason: str = "COMPLETED", *, gone: bool = True) -> None:
        """Let the job's trial end, and its job unless `gone` is False."""
        self._write(job, "end", {"time": _stamp(), "reason": reason})
        if gone:
            self.slurm.set_state(job, "COMPLETED")

    def obey(self) -> None:
        """Let the trials of signalled jobs end."""
        for job in self.slurm.jobs():
            if self.slurm.is_told(job) and self.slurm.state(job) == "RUNNING":
                self.end(job, "STOPPED")

    def _events(self, trial: int, attempt: int) -> Path:
        return self.path / "events" / f"{trial:05d}-{attempt}.0.jsonl"

    def _spec(self, trial: int) -> dict[str, Any]:
        spec: dict[str, Any] = json.loads((self.path / "trials" / f"{trial:05d}.json").read_text())
        return spec

    def _write(self, job: Job, kind: str, fields: dict[str, Any]) -> None:
        trial, attempt, _ = self.attempt(job)
        event = {"type": kind, "trial": trial, "attempt": attempt, "run": 0, **fields}
        self._written[job.id] = _stamp()
        with self._events(trial, attempt).open("a") as file:
            file.write(json.dumps(event) + "\n")


_DEVICE: dict[str, Any] = {
    "trainer": "simulated",
    "device": "simulated",
    "precision": "fp32",
    "cores": 1,
    "inherited": False,
    "clock_skew": 0.0,
    "versions": {},
}


def _stamp() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


class Command:
    """A process of the command line; keeps its lines on standard error with their times."""

    def __init__(
        self, python: str, arguments: Sequence[str | Path], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.said: list[tuple[float, str]] = []
        self._process = subprocess.Popen(
            [python, "-m", "aiperf_orch.cli", *map(str, arguments)],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self.said.append((time.time(), line.rstrip("\n")))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def text(self) -> str:
        """Return its standard error so far."""
        return "\n".join(line for _, line in self.said)

    def heard(self, pattern: str, since: float = 0.0) -> float | None:
        """Return the time of the first matching line after `since`; None without one."""
        return next((moment for moment, line in list(self.said) if moment >= since and re.search(pattern, line)), None)

    def interrupt(self) -> float:
        """Send Ctrl-C; returns the time."""
        moment = time.time()
        self._process.send_signal(signal.SIGINT)
        return moment

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; returns the exit status."""
        status = self._process.wait(seconds)
        self._listener.join(10)
        return status

    def kill(self) -> None:
        """Kill it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll until the condition is true, and return its value; None at the deadline: the caller names the event."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if held or time.monotonic() > deadline:
            return held or None
        time.sleep(0.02)
