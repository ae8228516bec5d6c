"""Random faults of a campaign by a seed: killed and stopped processes, failing commands, failing system calls.

They begin with the campaign, and last until `heal`; then the campaign is continued to its end by the same command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
import yaml

COMMANDS: Final = {"slurm": ("sbatch", "squeue", "sacct", "scancel", "scontrol"), "pbs": ("qsub", "qstat", "qdel")}
_CALLS_ONE_IN: Final = (30, 100, 300)
_COMMANDS_ONE_IN: Final = (2, 4, 8)


class FaultyCampaign:
    """A campaign in processes of its own, to which random faults are done.

    Args:
        folder: An empty folder.
        settings: Of the site.
        seed: Of the faults.
        library: The compiled `tests/preload/random_errors.c`; jobs get it by the batch script.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], seed: int, library: Path) -> None:
        self.path, self.flag = folder / "campaign", folder / "faulty"
        self._log, self._killed = folder / "faults", Counter[str]()
        self._site, self._log_file = folder / "site.yaml", folder / "controller.log"
        self._random = Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        variables = {
            "FAULTY": self.flag,
            "FAULTY_SEED": seed,
            "FAULTY_PATH": self.path,
            "FAULTY_ONE_IN": self._random.choice(_CALLS_ONE_IN),
            "FAULTY_COMMANDS_ONE_IN": self._random.choice(_COMMANDS_ONE_IN),
            "FAULTY_LOG": self._log,
            "LD_PRELOAD": library,
        }
        texts = {name: str(value) for name, value in variables.items()}
        settings["scheduler"]["setup"] = [f"export {name}={value}" for name, value in texts.items()]
        self._site.write_text(yaml.safe_dump(settings), encoding="utf-8")
        commands = _faulty_commands(folder, COMMANDS.get(settings["scheduler"]["kind"], ()))
        path = f"{commands}:{os.environ['PATH']}"
        self._environment = {**os.environ, **texts, "PATH": path}

    def disturb(self, seconds: float) -> None:
        """Run the campaign for a while with faults; its controller is started again whenever it has ended."""
        self.flag.touch()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                if self._process is not None and self._process.returncode == 0:
                    return
                self._killed["started"] += 1
                self._start()
            time.sleep(self._random.uniform(0.3, 2.5))
            self._fault()

    def heal(self) -> None:
        """End the faults."""
        self.flag.unlink(missing_ok=True)

    def finish(self, seconds: float) -> None:
        """Run the campaign to its end without faults; it may take several starts, after pauses."""
        self.heal()
        end = time.monotonic() + seconds
        for _ in range(9):
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None
            try:
                status = self._process.wait(max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"not over within {seconds:g} s\n{self.said()}") from None
            if status == 0:
                return
        raise AssertionError(f"it ends with status {status} each time\n{self.said()}")

    def faults(self) -> Counter[str]:
        """What was done to the campaign, and how often."""
        failed = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return self._killed + Counter(failed)

    def said(self) -> str:
        """The last output of the controllers."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")[-6000:]

    def everything_said(self) -> str:
        """All output of the controllers."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End what is left of the campaign's processes."""
        self.heal()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """Processes of the campaign, on simulated nodes too: those whose command line names its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(word.startswith(str(self.path)) for word in process.cmdline()):
                    found.append(process)
        return found

    def _start(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "aiperf_orch.cli", "run", self._site]
        command += ["--campaign-dir", self.path, "--yes"]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def _fault(self) -> None:
        """Kill a process, or stop it for a while. Sometimes nothing is done."""
        kind = self._random.choice(("kill", "stop", "nothing", "controller"))
        victims = self.processes()
        with contextlib.suppress(psutil.Error):
            if kind == "controller" and self._process is not None and self._random.random() < 0.5:
                self._process.kill()
                self._process.wait()
            elif kind == "kill" and victims:
                self._random.choice(victims).send_signal(signal.SIGKILL)
            elif kind == "stop" and victims:
                victim = self._random.choice(victims)
                victim.suspend()
                time.sleep(self._random.uniform(0.1, 3))
                victim.resume()
            else:
                kind = "nothing"
        self._killed[kind] += 1


def _faulty_commands(folder: Path, names: Sequence[str]) -> Path:
    """A folder with stand-ins for commands of a batch system."""
    commands = folder / "commands"
    commands.mkdir()
    program = Path(__file__).with_name("faulty_command.py")
    for name in names:
        real = shutil.which(name)
        assert real, f"{name} is not installed"
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {program} {real} "$@"\n', encoding="utf-8")
        path.chmod(0o700)
    return commands
