"""Seed network and network limits of a campaign, from its settings."""

from __future__ import annotations

from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.settings.models import SiteSettings


def seed_network(settings: SiteSettings) -> Graph:
    """The seed network, in the shape of the data set."""
    return SEEDS[settings.network.seed](settings.data.input_shape, settings.data.outputs)


def network_limits(settings: SiteSettings) -> MorphismLimits:
    """Limits of the networks of a campaign; the memory limit refers to the smallest batch size of the search."""
    network = settings.network
    return MorphismLimits(
        max_layers=network.max_layers,
        max_parameters=network.max_parameters,
        max_operations=network.max_operations,
        max_memory=None if network.max_memory is None else int(network.max_memory * 2**30),
        batch=settings.search.batch_size[0],
        precision=settings.training.precision,
    )
