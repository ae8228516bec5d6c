"""`export-network`: write a trained network as a plain PyTorch module, with its weights and a check of its error."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.commands.attempt_facts import find_trial
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.torch_source import forward_lines, module_lines, renamed_tensors
from aiperf_orch.package.recorded_error import RecordedError, recorded_error
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.searched import described
from aiperf_orch.results.winner import lineage_of, network_of
from aiperf_orch.schedulers.script_rendering import render_script
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible

_WEIGHTS: Final = "weights.safetensors"
_VALIDATION_BATCH: Final = 512
_UNSAFE: Final = re.compile(r"[^\w .,:;()@+/-]")
"""Characters of recorded texts that have no place in source code."""


class _DataFacts(NamedTuple):
    """What the exported files state of a data set: of pixels, the checked images, and what they are read with."""

    range: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    class_names: str
    needs_data: str
    check_needs: str


_COLOURS: Final = 255.0
_DATA: Final = {
    "digits": _DataFacts(
        "from 0 to 16", (4.886178016662598,), (6.008146286010742,), "the digits 0 to 9", "", "scikit-learn"
    ),
    "cifar10": _DataFacts(
        "from 0 to 255 (red, green, blue)",
        tuple(_COLOURS * value for value in (0.4914, 0.4822, 0.4465)),
        tuple(_COLOURS * value for value in (0.2470, 0.2435, 0.2616)),
        "as batches.meta.txt of CIFAR-10 lists them",
        "the folder of the binary version of CIFAR-10, with test_batch.bin.",
        "its data",
    ),
    "imagenet": _DataFacts(
        "from 0 to 255 (red, green, blue)",
        tuple(_COLOURS * value for value in (0.485, 0.456, 0.406)),
        tuple(_COLOURS * value for value in (0.229, 0.224, 0.225)),
        "the folders of val/, sorted by name",
        "the folder of the image tree, with val/CLASS/*.",
        "Pillow and NumPy",
    ),
}
"""Data set -> facts; normalisation is that of training."""


def export_network(campaign_dir: Path, output: Path, trial: int | None) -> CommandOutput:
    """Write network.py, weights.safetensors, check.py and README.md into a new folder; returns what was written.

    Args:
        campaign_dir: The campaign.
        output: The folder; it must not exist, or be empty.
        trial: The trial; None is the one with the lowest error.

    Raises:
        UsageError: The trial has no trained network or its weights were not kept, or the folder has files.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output}: exists: name a new folder")
    directory = CampaignDirectory.open(campaign_dir)
    with progress_line("export-network"):
        result = compute_result(directory)
    recorded = _recorded(result, trial)
    number = recorded.epoch.trial
    data = _DATA.get(result.data)
    if data is None:
        raise UsageError(f"{directory.path}: its data set {result.data} has no images whose classes can be learnt")
    graph = network_of(result, number)
    if graph is None:
        raise UsageError(f"{directory.spec(number)}: cannot be read: restore it")
    weights = _renamed_weights(graph, directory.weights(number), recorded)
    fields = _fields(result, recorded, graph, data)
    output.mkdir(parents=True, exist_ok=True)
    for name, template in (
        ("network.py", "network.py.j2"),
        ("check.py", "check_network.py.j2"),
        ("README.md", "network_readme.md.j2"),
    ):
        replace_file(output / name, render_script(template, None, **fields).encode())
    replace_file(output / _WEIGHTS, weights)
    check = f"python {visible(str(output / 'check.py'))}{' DATA' if data.needs_data else ''}"
    return CommandOutput(
        f"network          trial {number}: {graph.depth} layers, {graph.parameters:,} parameters\n"
        f"files            {visible(str(output))}: network.py, {_WEIGHTS}, check.py, README.md\n"
        f"check            {check}\n"
    )


def _recorded(result: Result, trial: int | None) -> RecordedError:
    """The recorded error of a trial, or of the best one."""
    directory = result.directory
    if result.simulated:
        raise UsageError(f"{directory.path}: its trials were simulated: no network was trained")
    if trial is None:
        recorded = recorded_error(result)
    else:
        find_trial(directory, result.state, trial)
        records = next(each for each in result.collected.trials if each.trial.trial == trial)
        best = best_epoch(records.epochs)
        recorded = None if best is None else recorded_error(result, best)
    if recorded is None:
        which = "it" if trial is None else f"trial {trial}"
        raise UsageError(f"{directory.path}: {which} has no epoch: no network was trained")
    return recorded


def _renamed_weights(graph: Graph, path: Path, recorded: RecordedError) -> bytes:
    """The weights as a file of safetensors whose tensors are named as in network.py.

    Raises:
        UsageError: They do not exist, or are not those of the recorded error.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    trial, kept = recorded.epoch.trial, "campaign.keep_weights is the number of best trials whose weights are kept"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: does not exist: the weights of trial {trial} were not kept; {kept}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if recorded.weights_sha256 is not None and hashlib.sha256(content).hexdigest() != recorded.weights_sha256:
        raise UsageError(f"{path}: is not the file whose SHA-256 the end line of trial {trial} states")
    names = dict(renamed_tensors(graph))
    try:
        tensors = load(content)
        renamed = {}
        for key, tensor in tensors.items():
            layer, _, rest = key.partition(".")
            renamed[names[f"{layer}."] + rest] = tensor
    except (SafetensorError, KeyError) as error:
        raise UsageError(f"{path}: does not hold the weights of trial {trial}: {error}") from None
    return bytes(save(renamed))


def _fields(result: Result, recorded: RecordedError, graph: Graph, data: _DataFacts) -> dict[str, Any]:
    """Fields of the templates."""
    epoch, settings, trial = recorded.epoch, result.directory.settings, recorded.epoch.trial
    proposal = result.state.trials[trial].proposal
    height, width, channels = graph.input_shape
    operations = counts.count(graph)
    return {
        "title": f"A network for {result.data}",
        "campaign": result.directory.config.tag,
        "trial": trial,
        "lineage": lineage_of(result.state, trial),
        "edits": described(proposal.edits) or "none",
        "seed": settings.network.seed,
        "layers": graph.depth,
        "parameters": graph.parameters,
        "hash": graph.hash,
        "counting": counts.CONVENTION,
        "train": operations.train,
        "validate": operations.forward,
        "channels": channels,
        "height": height,
        "width": width,
        "classes": graph.classes,
        "data": result.data,
        "batch_size": epoch.batch,
        "batch": min(4 * epoch.batch, _VALIDATION_BATCH),
        "dropout": proposal.hyperparameters.dropout,
        "wrong": recorded.wrong_images,
        "images": epoch.val_images,
        "epoch": epoch.epoch,
        "precision": recorded.begin.precision,
        "device": _UNSAFE.sub("_", recorded.begin.device),
        "weights_sha256": recorded.weights_sha256,
        "modules": module_lines(graph),
        "forward": forward_lines(graph),
        "version": aiperf_orch.__version__,
        **data._asdict(),
    }
