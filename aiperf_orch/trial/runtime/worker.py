"""One worker: a rank of a trial, which trains as it is ordered to. Its task started it, and ends it."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import torch
import torch.distributed as dist

from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.messages import Order, Report
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import EpochMeasurements, PeerStoppedError, TrainingSetup, TrialFailedError
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from aiperf_orch.util.errors import AiperfError, TransientError

_LOOK: Final = 0.2  # seconds between two looks at what the task says, and two reports: a step may take a millisecond
_FRACTION: Final = 0.1  # of the time after which a trial is hung, at most
_END: Final = Order(do="end")


class _Ended(Exception):
    """The task wants no more, or is gone."""


class Worker:
    """Obeys orders until there are no more, or it fails."""

    _trainer: TorchTrainer

    def __init__(
        self,
        channel: Channel,
        spec: TrialSpec,
        path: Path,
        accelerators: int,
        local_rank: int,
        local_size: int,
        store: socket.socket | None,
    ) -> None:
        """Keep where this worker stands.

        Args:
            channel: to the node's task.
            spec: the trial.
            path: the specification's, by which a parent's files are found.
            accelerators: how many the node was asked for, 0 where nobody said.
            local_rank: this worker's number on its node.
            local_size: how many the node has.
            store: of rank 0, the socket of the store where all meet; it listens.
        """
        self._channel, self._spec, self._path = channel, spec, path
        self._accelerators = accelerators
        self._local_rank, self._local_size, self._store = local_rank, local_size, store
        self._rank: int | None = None
        self._pause = min(_LOOK, _FRACTION * spec.training.hang_after)
        self._looked = 0.0

    def run(self) -> None:
        """Meet the other ranks, then obey and report until there is an end."""
        try:
            order = self._next()
            if order.do == "end":
                return
            world = self._join(order)
            with closing(_make_trainer(self._spec, self._path, world)) as trainer:
                self._report(Report(kind="done"))
                while (order := self._next()).do != "end":
                    self._report(self._obey(order, trainer))
            world.leave()
        except (_Ended, PeerStoppedError):
            pass
        except TrialFailedError as failure:
            self._report(Report(kind="failed", reason=failure.reason, message=str(failure)))
        except AiperfError as error:  # a file that cannot be written, or read: it says which, and why
            reason = EndReason.NODE_FAILURE if isinstance(error, TransientError) else EndReason.TRIAL_ERROR
            self._report(Report(kind="failed", reason=reason, message=f"{socket.gethostname()}: {error}"[:2000]))
        except Exception as error:
            if not _is_loss(error):
                raise
            traceback.print_exc()
            message = f"rank {self._rank} on {socket.gethostname()} lost another: {error}"
            self._report(Report(kind="failed", reason=EndReason.NODE_FAILURE, message=message[:2000], bereft=True))

    def _next(self) -> Order:
        """The next order; from a task that is gone, the last."""
        line = self._channel.next_line()
        return Order.model_validate_json(line) if line else _END

    def _obey(self, order: Order, trainer: TorchTrainer) -> Report:
        """Do what an order says; returns the report of its end."""
        answer: TrainingSetup | EpochMeasurements | str | int | None = None
        path = Path(order.path)
        match order.do:
            case "prepare":
                answer = trainer.prepare()
            case "epoch":
                answer = trainer.run_epoch(order.epoch, self._step)
            case "save_weights":
                answer = trainer.save_weights(path)
            case "save_checkpoint":
                trainer.save_checkpoint(path, order.epoch)
            case "load_checkpoint":
                try:
                    answer = trainer.load_checkpoint(path)
                except (OSError, ValueError) as error:
                    return Report(kind="unusable", message=str(error))
            case _:
                raise AssertionError(f"{order.do} is no order for a worker")
        return Report(kind="done", answer=answer)

    def _join(self, order: Order) -> ProcessGroup:
        """Meet the other ranks."""
        self._rank = order.rank
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        there = torch.accelerator.device_count() if accelerator else 0
        if there < self._accelerators:  # training on would be slow, and on the processor perhaps for hours
            what = f"torch sees {there} of the {self._accelerators} accelerators that the trial was given"
            where = "this node's driver, or torch in the trials' environment, is at fault: see `aiperf-orch check`"
            raise TrialFailedError(EndReason.NODE_FAILURE, f"{socket.gethostname()}: {what}; {where}")
        if accelerator and self._local_rank == 0 and self._local_size > there:
            share = f"{self._local_size} workers share {there} accelerators"
            print(f"warning: {socket.gethostname()}: {share}", file=sys.stderr, flush=True)
        if order.interface:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", order.interface)
            if order.interface != "lo":  # on one node nccl needs no network
                os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={order.interface}")
        if order.store is None:
            return ProcessGroup()
        return ProcessGroup.join(
            order.rank,
            order.size,
            self._local_rank,
            self._local_size,
            order.store,
            listen_fd=self._store.detach() if self._store else None,
            device=accelerator.type if accelerator else "cpu",
        )

    def _step(self) -> None:
        """Tell now and then that a step is about to begin, and see whether there is an end."""
        now = time.monotonic()
        if now - self._looked < self._pause:
            return
        self._looked = now
        if self._rank == 0:
            self._report(Report(kind="step"))
        if self._channel.receive() or self._channel.broken:  # nothing else comes before an order is obeyed
            raise _Ended

    def _report(self, report: Report) -> None:
        self._channel.send(report.to_line())


def _make_trainer(spec: TrialSpec, path: Path, world: ProcessGroup) -> TorchTrainer:
    weights, parent = None, None
    if spec.parent is not None and spec.training.inherit_weights:
        layout = Layout.of_spec(path)
        weights = layout.weights(spec.parent)
        parent_spec = retry_transient(partial(read_spec, layout.spec(spec.parent)), LONG_RETRY_SECONDS)[0]
        parent = Graph.from_json(parent_spec.network)
    return TorchTrainer(spec, weights, parent, world)


def _is_loss(error: Exception) -> bool:
    """Whether an error says that another rank is gone; of gloo's only the words tell."""
    return isinstance(error, dist.DistError) or any(
        words in str(error) for words in ("gloo/transport", "Connection closed by peer", "Broken pipe")
    )
