"""Settings that a tuning tries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aiperf_orch.tuning.alternatives import BATCH, COMPILE, LOADERS, PRECISION, WORKERS, Node, Setup, alternatives

pytestmark = pytest.mark.unit

SETUP = Setup(precision="auto", batch=448, workers=4, compile=False, loaders=None)
GPUS = Node(on_accelerator=True, precisions=frozenset({"bf16"}), cores=32, accelerators=4)
CPU = Node(on_accelerator=False, precisions=frozenset({"fp32"}), cores=2, accelerators=0)
PERMITTED = ("bf16", "fp16", "fp32", "tf32")


def _values(
    setup: Setup, node: Node, *, permitted: tuple[str, ...] = PERMITTED, **options: Any
) -> dict[str, list[Any]]:
    found = alternatives(
        setup, node, options.get("batches", (384, 448)), permitted, has_loaders=options.get("loaders", True)
    )
    return {block[0].values[0][0]: [each.values[0][1] for each in block] for block in found}


def test_alternatives_of_a_node_with_accelerators() -> None:
    assert _values(SETUP, GPUS) == {
        PRECISION: ["fp16", "tf32"],
        BATCH: [408, 384],
        WORKERS: [8, 2],
        COMPILE: [True],
        LOADERS: [4, 16],
    }


def test_alternatives_of_one_cpu() -> None:
    setup = replace(SETUP, precision="fp32", batch=16, workers=1, compile=True)
    assert _values(setup, CPU, batches=(16, 64), loaders=False) == {
        PRECISION: ["bf16"],
        BATCH: [64, 32],
        WORKERS: [2],
        COMPILE: [False],
    }


def test_only_batches_within_the_search_are_tried() -> None:
    for low, high in ((2, 2), (3, 5), (384, 448), (7, 1000)):
        tried = _values(SETUP, GPUS, batches=(low, high)).get(BATCH, [])
        assert all(low <= batch <= high for batch in tried), (low, high, tried)


def test_precisions_that_the_rules_do_not_permit_are_not_tried() -> None:
    assert _values(SETUP, GPUS, permitted=("tf32",))[PRECISION] == ["tf32"]


def test_the_first_keys_are_the_most_promising() -> None:
    assert next(iter(_values(SETUP, GPUS))) == PRECISION
