"""Initial weights of a trial from the file of its parent's weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.weight_inheritance import State, inherit
from aiperf_orch.util.errors import NetworkError


def load_inherited_state(
    path: Path, parent: Graph, edits: Iterable[Edit], expected: State, generator: torch.Generator
) -> State | None:
    """Compute the state of a child from a file of its parent's weights.

    Args:
        path: The safetensors file of the trained parent.
        parent: The network of the parent.
        edits: The edits that lead from the parent to the child.
        expected: A state dict of the child, which gives the names and shapes of its tensors.
        generator: Source of random weights, see `inherit`.

    Returns:
        The state of the child; None if the file does not exist (any more).

    Raises:
        TrialFailedError: TRIAL_ERROR, if the file cannot be read, or its tensors or the edits do not fit the networks.
    """
    with torch.device("meta"):
        expected_of_parent = Model(parent).state_dict()
    try:
        state = safetensors.torch.load(read_file(path, retry_for=LONG_RETRY_SECONDS))
        _check_shapes(state, expected_of_parent)
        state = inherit(parent, edits, state, generator)
        _check_shapes(state, expected)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, NetworkError) as error:
        raise TrialFailedError(
            EndReason.TRIAL_ERROR, f"the weights of the parent, {path}, cannot be inherited: {error}"
        ) from error
    return state


def _check_shapes(state: State, expected: State) -> None:
    """Raise ValueError naming the first tensor that is missing, unexpected, or of another shape than expected."""
    for name in sorted(state.keys() | expected.keys()):
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            found = tuple(state[name].shape) if name in state else "missing"
            wanted = tuple(expected[name].shape) if name in expected else "no such tensor"
            raise ValueError(f"tensor {name!r} is {found}, the network has {wanted}")
