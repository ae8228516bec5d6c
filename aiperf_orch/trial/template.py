"""`python -m aiperf_orch.trial.template`: the template process of a node, of which each trial is a fork.

It imports once what every trial of the campaign needs, with one thread and without touching an accelerator, so that a
trial starts in a fraction of a second and a shared file system is asked once a node. The agent starts it, with a socket
as standard input. A request is one message: JSON, with the descriptors of the attempt's folder and log. The trial
becomes a child of the agent, which is a child subreaper, and answers itself: by its process id.

Libraries that read the number of threads when they are loaded (OpenMP, OpenBLAS, MKL) have read 1 here. The trainer
sets PyTorch's threads by the cores of the trial; no trial uses OpenBLAS for anything that takes time.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from aiperf_orch.trial import __main__ as trial
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.torch_check import require_torch
from aiperf_orch.util.death_signal import die_with
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient

_PR_SET_NAME: Final = 15
_MAX_REQUEST: Final = 1 << 20  # bytes
_REPARENTING_PAUSE: Final = 0.0005  # seconds
_IGNORED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_ACCELERATORS: Final = ("/dev/nvidia-uvm", "/dev/kfd", "/dev/dri")
"""Devices that a process opens when it initializes an accelerator."""

_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "digits": (),
    "synthetic": (),
    "cifar10": (),
    "imagenet": ("aiperf_orch.trial.data.imagenet",),
}
_TORCH_MODULES: Final = ("aiperf_orch.trial.runtime.worker",)


class NotATemplateError(Exception):
    """The imports left a state that must not be forked."""


def main() -> int:
    """Serve requests until the agent closes the socket; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.template", description=__doc__)
    parser.add_argument("--agent", type=int, required=True, help="process id of the agent")
    parser.add_argument("--trainer", choices=["torch", "simulated"], required=True)
    parser.add_argument("--data", choices=sorted(_MODULES), required=True)
    options = parser.parse_args()
    die_with(options.agent)
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # batch systems signal all processes; the agent decides what follows
    make_streams_lenient()
    channel = _take_channel()
    try:
        import_modules(options.trainer, options.data)
        _check_forkable()
    except TrialFailedError as failure:
        channel.send(json.dumps({"unfit": str(failure)}).encode())
        return 1
    except Exception as error:
        traceback.print_exc()
        channel.send(json.dumps({"unfit": f"{type(error).__name__}: {error}"[:1000]}).encode())
        return 1
    gc.collect()
    gc.freeze()  # forks share the memory of what was imported
    channel.send(b'{"ready":true}')
    _serve(channel, options.agent)
    return 0


def _take_channel() -> socket.socket:
    """The socket that is standard input, which becomes /dev/null."""
    channel = socket.socket(fileno=os.dup(0))
    channel.set_inheritable(False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return channel


def import_modules(trainer: str, data: str) -> None:
    """Import what the trials of a campaign need; TrialFailedError without a usable torch."""
    if trainer == "torch":
        require_torch()
        for module in (*_TORCH_MODULES, *_MODULES[data]):
            importlib.import_module(module)
        _load_what_torch_loads_late()


def _load_what_torch_loads_late() -> None:
    """Let PyTorch import hundreds of modules that it would import in the first steps of each trial.

    Nothing is differentiated: that would start threads, or touch an accelerator.
    """
    import torch

    with torch.device("meta"):
        model = torch.nn.Linear(1, 1)
    model.to_empty(device="cpu")
    torch.optim.SGD(model.parameters(), lr=0.1)


def _check_forkable() -> None:
    """Check that this process has one thread and no open accelerator.

    Raises:
        NotATemplateError: When it has.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise NotATemplateError(f"the imports started {threads - 1} threads, which a fork would lack")
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue  # that of this listing
        if target.startswith(_ACCELERATORS):
            raise NotATemplateError(f"the imports opened {target}, which trials must not share")


def _serve(channel: socket.socket, agent: int) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _MAX_REQUEST, 2)
        if not data:
            return
        try:
            request = json.loads(data)
            folder, log = descriptors
            message = _fork_trial(request, folder, log, channel, agent)
            if message:
                channel.send(json.dumps({"failed": request["id"], "message": message}).encode())
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _fork_trial(request: Mapping[str, Any], folder: int, log: int, channel: socket.socket, agent: int) -> str:
    """Fork twice, so that the trial becomes a child of the agent; returns why that was not possible, or nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    # signals are blocked, so that none arrives in the child while it still has this process's handlers
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        starter = os.fork()
        if starter == 0:
            _fork_again(request, folder, log, channel, agent, mask)
        status = os.waitpid(starter, 0)[1]
    except OSError as error:
        return f"cannot be forked: {error.strerror}"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return "cannot be forked: see the output of the agent" if status else ""


def _fork_again(
    request: Mapping[str, Any], folder: int, log: int, channel: socket.socket, agent: int, mask: Iterable[int]
) -> NoReturn:
    starter = os.getpid()
    try:
        if os.fork():
            os._exit(0)
        _become_trial(request, starter, agent, channel, folder, log)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    _run(request["arguments"])


def _become_trial(
    request: Mapping[str, Any], starter: int, agent: int, channel: socket.socket, folder: int, log: int
) -> None:
    """Make this process what a trial's own process would be."""
    while os.getppid() == starter:
        time.sleep(_REPARENTING_PAUSE)
    die_with(agent)
    os.setsid()
    os.sched_setaffinity(0, request["cores"])
    channel.send(json.dumps({"started": request["id"], "pid": os.getpid()}).encode())
    channel.close()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.fchdir(folder)
    os.close(folder)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    ctypes.CDLL(None).prctl(_PR_SET_NAME, os.fsencode(request["environment"].get("AIPERF_ORCH_ATTEMPT", "trial")))
    tempfile.tempdir = None  # TMPDIR may differ
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # SIGUSR1 stays ignored until the trial handles it


def _run(arguments: list[str]) -> NoReturn:
    """Run a trial as `python -m aiperf_orch.trial` does, and exit."""
    sys.argv = [str(trial.__file__), *arguments]
    sys.modules["__main__"] = trial  # processes that `multiprocessing` starts would import this module
    try:
        status = trial.main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # everything is on disk


if __name__ == "__main__":
    enter_utf8_mode()
    sys.exit(main())
