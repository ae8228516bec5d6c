"""Agents of many slots for benchmarks of the controller: one process plays their simulated trials as coroutines.

Orders, log, heartbeat, claims, events and checkpoints are those of a real agent and of real trials, in the same files;
only the processes of the trials are missing. A trial takes `--seconds` in all, in equal epochs; those of the first wave
take a random part of it, from a tenth on, so that trials end evenly soon after the start. Without `--seconds` epochs
take as long as those of the simulated trainer.

    python benchmarks/played_agent.py CAMPAIGN_DIR --hosts n0001 n0002 --slots 100 --seconds 1800
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import aiperf_orch
from aiperf_orch.campaign.agent_files import HeartbeatWriter, claim_folder, follow_orders
from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.durable_files import AppendFile
from aiperf_orch.campaign.events import EventWriter, best_epoch
from aiperf_orch.records.agents import AgentBegin, AgentEnd, Dismiss, Exited, Place, Started, Stop
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.trial.runtime.simulated_trainer import SimulatedTrainer
from aiperf_orch.util.units import now

_ORDERS_EVERY = 2.0  # seconds


class PlayedAgent:
    """One agent, and the trials that it plays."""

    def __init__(self, directory: CampaignDirectory, host: str, slots: int, seconds: float | None) -> None:
        self._directory, self._seconds = directory, seconds
        self._name, _ = claim_folder(directory, host)
        self._host = host
        self._orders = follow_orders(directory, self._name)
        self._log = AppendFile(directory.agent_log(self._name), exclusive=True)
        self._free = list(range(slots))
        self._queue: list[Place] = []
        self._playing: dict[str, asyncio.Task[None]] = {}
        self._first_wave = slots
        self._dismissed = False
        begin = AgentBegin(
            time=now(),
            agent=self._name,
            job="by hand",
            host=host,
            boot="played",
            pid=os.getpid(),
            started=0,
            slots=slots,
            cores=slots,
            gpus=0,
            version=aiperf_orch.__version__,
        )
        self._write(begin)
        settings = placement_settings(directory.settings.scheduler, directory.settings.campaign.concurrency)
        if settings is None:
            raise SystemExit(f"{directory.path}: its trials are not placed on agents")
        self._beat_every = settings.heartbeat_interval
        self._heartbeat = HeartbeatWriter(directory.agent_heartbeat(self._name))

    async def run(self) -> None:
        """Play until the controller dismisses the agent."""
        beating = asyncio.create_task(self._beat())
        while not (self._dismissed and not self._playing):
            for order in self._orders.read_on():
                self._obey(order)
            while self._queue and self._free:
                self._start(self._queue.pop(0))
            await asyncio.sleep(_ORDERS_EVERY)
        beating.cancel()
        self._write(AgentEnd(time=now(), reason="dismissed"))

    async def _beat(self) -> None:
        while True:
            self._heartbeat.beat()
            await asyncio.sleep(self._beat_every)

    def _obey(self, order: Place | Stop | Dismiss) -> None:
        match order:
            case Place():
                self._queue.append(order)
            case Stop():
                waiting = [each for each in self._queue if each.name == order.name]
                self._queue = [each for each in self._queue if each.name != order.name]
                for each in waiting:
                    self._write(Exited(time=now(), name=each.name, started=False, message="withdrawn"))
                if order.name in self._playing:
                    self._playing[order.name].cancel()
            case Dismiss():
                self._dismissed = True

    def _start(self, order: Place) -> None:
        slot = self._free.pop()
        self._write(Started(time=now(), name=order.name, slot=slot, pid=os.getpid()))
        share = random.uniform(0.1, 1.0) if self._first_wave > 0 else 1.0
        self._first_wave -= 1
        seconds = None if self._seconds is None else self._seconds * share
        task = asyncio.create_task(self._train(order, slot, seconds))
        self._playing[order.name] = task
        task.add_done_callback(lambda _: self._ended(order, slot))  # also where it was cancelled before its first step

    def _ended(self, order: Place, slot: int) -> None:
        self._write(Exited(time=now(), name=order.name, status=0))
        del self._playing[order.name]
        self._free.append(slot)
        if self._queue:
            self._start(self._queue.pop(0))

    async def _train(self, order: Place, slot: int, seconds: float | None) -> None:
        """Write the events of one trial."""
        spec, sha256 = read_spec(Path(order.spec or ""))
        attempt = int(order.command[order.command.index("--attempt") + 1])
        writer = EventWriter(self._directory, spec.trial, attempt, 0)
        trainer = SimulatedTrainer(spec.model_copy(update={"training": _without_waiting(spec.training)}), attempt)
        ident = {"trial": spec.trial, "attempt": attempt, "run": 0}
        epochs: list[Epoch] = []
        reason = EndReason.COMPLETED
        try:
            setup = trainer.prepare().model_dump()
            start = now()
            place = {"agent": self._name, "slot": slot, "started": start}
            writer.append(
                Begin(
                    **ident,
                    time=start,
                    hosts=[self._host],
                    job="by hand",
                    spec_sha256=sha256,
                    trainer="simulated",
                    clock_skew=0.0,
                    **place,
                    **setup,
                )
            )
            for number in range(1, spec.epochs + 1):
                usual = spec.training.simulated.epoch_seconds * random.uniform(0.8, 1.2)
                await asyncio.sleep(usual if seconds is None else seconds / spec.epochs)
                measured = trainer.run_epoch(number, lambda: None)
                ops = spec.operations.of_images(trained=measured.train_images, validated=measured.val_images)
                end = max(now(), start + timedelta(milliseconds=1))
                epochs.append(Epoch(**ident, epoch=number, start=start, end=end, ops=ops, **asdict(measured)))
                writer.append(epochs[-1])
                start = end
        except asyncio.CancelledError:
            reason = EndReason.STOPPED
        best = best_epoch(epochs)
        digest = trainer.save_weights(self._directory.weights(spec.trial)) if best else None
        writer.append(
            End(
                **ident,
                time=now(),
                reason=reason,
                best_error=best.error if best else None,
                best_epoch=best.epoch if best else None,
                weights_sha256=digest,
                message="" if reason is EndReason.COMPLETED else "stopped by SIGTERM",
            )
        )
        writer.close()

    def _write(self, line: AgentBegin | Started | Exited | AgentEnd) -> None:
        self._log.append(line.to_line() + "\n")


def _without_waiting(training):
    simulated = training.simulated.model_copy(update={"epoch_seconds": 0.0})
    return training.model_copy(update={"simulated": simulated})


async def _play_all(agents: Iterable[PlayedAgent]) -> None:
    await asyncio.gather(*(agent.run() for agent in agents))


def main() -> None:
    """Play one agent for each host."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", type=Path)
    parser.add_argument("--hosts", nargs="+", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    directory = CampaignDirectory.open(options.campaign)
    agents = [PlayedAgent(directory, host, options.slots, options.seconds) for host in options.hosts]
    asyncio.run(_play_all(agents))


if __name__ == "__main__":
    main()
