"""The normalisation that export-network writes is the one of training."""

from __future__ import annotations

import pytest
import torch

from aiperf_orch.commands.export_network import _DATA
from aiperf_orch.trial.data import cifar10, imagenet
from aiperf_orch.trial.data.digits import digits


def test_digits() -> None:
    arrays, facts = digits(), _DATA["digits"]
    pixels = torch.arange(17.0)
    own = (pixels - facts.mean[0]) / facts.deviation[0]
    levels = torch.unique(torch.cat([arrays.train_images.flatten(), arrays.val_images.flatten()]))
    torch.testing.assert_close(levels, own, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "module"), [("cifar10", cifar10), ("imagenet", imagenet)])
def test_colours(name: str, module: object) -> None:
    facts = _DATA[name]
    for own, trained in ((facts.mean, "_MEAN"), (facts.deviation, "_DEVIATION")):
        assert own == pytest.approx([255 * value for value in getattr(module, trained)])
