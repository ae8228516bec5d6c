"""Worker: one rank of a trial, which executes the commands of its task. The task spawns it and stops it."""

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
from aiperf_orch.records.events import EpochMeasurements, TrainingSetup
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Command, Reply
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import PeerStoppedError, TrialFailedError
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from aiperf_orch.util.errors import AiperfError, TransientError

_CHECK_INTERVAL: Final = 0.2  # seconds between two checks for a command, and two `step` replies: steps may be shorter
_MAX_HANG_SHARE: Final = 0.1  # of `training.hang_after`: upper bound of that interval
_MAX_MESSAGE: Final = 2000  # characters
_STOP: Final = Command(action="stop")
_PEER_LOSS_PHRASES: Final = ("gloo/transport", "Connection closed by peer", "Broken pipe")


class _StopCommandError(Exception):
    """The task sent a stop command, or is gone."""


class Worker:
    """Executes commands until it is stopped, or fails."""

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
        """Keep the arguments.

        Args:
            channel: Channel to the task of this node.
            spec: Specification of the trial.
            path: Path of the specification, by which the files of the parent are found.
            accelerators: Number of accelerators that were requested for the node; 0 for none or unknown.
            local_rank: Rank on this node.
            local_size: Number of workers on this node.
            store: Of rank 0, the listening socket of the process group's store.
        """
        self._channel, self._spec, self._path = channel, spec, path
        self._accelerators = accelerators
        self._local_rank, self._local_size, self._store = local_rank, local_size, store
        self._rank: int | None = None
        self._interval = min(_CHECK_INTERVAL, _MAX_HANG_SHARE * spec.training.hang_after)
        self._last_check = 0.0

    def run(self) -> None:
        """Join the process group, then execute commands and reply until the stop command."""
        try:
            self._execute_commands()
        except (_StopCommandError, PeerStoppedError):
            pass
        except TrialFailedError as failure:
            self._reply(Reply(kind="failed", reason=failure.reason, message=str(failure)))
        except AiperfError as error:  # a file that cannot be read or written; the message names it
            reason = EndReason.NODE_FAILURE if isinstance(error, TransientError) else EndReason.TRIAL_ERROR
            self._reply(Reply(kind="failed", reason=reason, message=f"{socket.gethostname()}: {error}"[:_MAX_MESSAGE]))
        except Exception as error:
            if not _is_peer_loss(error):
                raise
            traceback.print_exc()
            message = f"rank {self._rank} on {socket.gethostname()} lost the connection to another rank: {error}"
            self._reply(
                Reply(kind="failed", reason=EndReason.NODE_FAILURE, message=message[:_MAX_MESSAGE], lost_peer=True)
            )

    def _execute_commands(self) -> None:
        command = self._next_command()
        if command.action == "stop":
            return
        group = self._join(command)
        with closing(_make_trainer(self._spec, self._path, group)) as trainer:
            self._reply(Reply(kind="done"))
            while (command := self._next_command()).action != "stop":
                self._reply(self._execute(command, trainer))
        group.leave()

    def _next_command(self) -> Command:
        """Wait for the next command; the stop command if the task is gone."""
        line = self._channel.next_line()
        return Command.model_validate_json(line) if line else _STOP

    def _execute(self, command: Command, trainer: TorchTrainer) -> Reply:
        """Call the trainer's method; return the reply."""
        answer: TrainingSetup | EpochMeasurements | str | int | None = None
        path = Path(command.path)
        match command.action:
            case "prepare":
                answer = trainer.prepare()
            case "run_epoch":
                answer = trainer.run_epoch(command.epoch, self._check_stop)
            case "save_weights":
                answer = trainer.save_weights(path)
            case "save_checkpoint":
                trainer.save_checkpoint(path, command.epoch)
            case "load_checkpoint":
                try:
                    answer = trainer.load_checkpoint(path)
                except (OSError, ValueError) as error:
                    return Reply(kind="unusable", message=str(error))
            case _:
                raise AssertionError(f"{command.action} is not a command for workers")
        return Reply(kind="done", answer=answer)

    def _join(self, command: Command) -> ProcessGroup:
        """Check the accelerators, and join the process group."""
        self._rank = command.rank
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        visible = torch.accelerator.device_count() if accelerator else 0
        if visible < self._accelerators:  # training would continue slowly, on the processor perhaps for hours
            raise TrialFailedError(
                EndReason.NODE_FAILURE,
                f"{socket.gethostname()}: torch sees {visible} of the {self._accelerators} accelerators that the trial "
                "was given; the node's driver, or torch in the trials' environment, is at fault: see `aiperf-orch "
                "check`",
            )
        if accelerator and self._local_rank == 0 and self._local_size > visible:
            shared = f"{self._local_size} workers share {visible} accelerators"
            print(f"warning: {socket.gethostname()}: {shared}", file=sys.stderr, flush=True)
        if command.interface:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", command.interface)
            if command.interface != "lo":  # on one node nccl needs no network
                os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={command.interface}")
        if command.store is None:
            return ProcessGroup()
        return ProcessGroup.join(
            command.rank,
            command.size,
            self._local_rank,
            self._local_size,
            command.store,
            listen_fd=self._store.detach() if self._store else None,
            device=accelerator.type if accelerator else "cpu",
        )

    def _check_stop(self) -> None:
        """Report from time to time that a step begins, and raise when the task wants to stop."""
        now = time.monotonic()
        if now - self._last_check < self._interval:
            return
        self._last_check = now
        if self._rank == 0:
            self._reply(Reply(kind="step"))
        if self._channel.receive() or self._channel.broken:  # no other command arrives before the reply to this one
            raise _StopCommandError

    def _reply(self, reply: Reply) -> None:
        self._channel.send(reply.to_line())


def _make_trainer(spec: TrialSpec, path: Path, group: ProcessGroup) -> TorchTrainer:
    weights, parent = None, None
    if spec.parent is not None and spec.training.inherit_weights:
        layout = Layout.of_spec(path)
        weights = layout.weights(spec.parent)
        parent_spec = retry_transient(partial(read_spec, layout.spec(spec.parent)), LONG_RETRY_SECONDS)[0]
        parent = Graph.from_json(parent_spec.network)
    return TorchTrainer(spec, weights, parent, group)


def _is_peer_loss(error: Exception) -> bool:
    """Whether an error means that another rank is gone; gloo has no type for it, only phrases."""
    return isinstance(error, dist.DistError) or any(phrase in str(error) for phrase in _PEER_LOSS_PHRASES)
