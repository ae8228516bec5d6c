"""Specification of a trial outside a campaign, for measurements of a node."""

from __future__ import annotations

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, Hyperparameters, TrialSpec
from aiperf_orch.settings.models import TrainingSettings


def measured_trial(
    network: Graph, data: DataRecord, training: TrainingSettings, *, batch: int, epochs: int
) -> TrialSpec:
    """Specification of a trial that trains all its epochs.

    Args:
        network: Network of the trial.
        data: Data set, with its paths.
        training: Recipe.
        batch: Number of images of one worker in a step.
        epochs: Number of epochs.
    """
    return TrialSpec(
        campaign="bench",
        trial=0,
        round=0,
        seed=0,
        parent=None,
        edits=[],
        network_hash=network.hash,
        operations=OperationsPerImage.of(counts.count(network)),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=0.0, batch_size=batch),
        epochs=epochs,
        patience=epochs,
        data=data,
        training=training,
        network=network.to_json(),
    )
