"""Operations per image of a network, and of an epoch's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from aiperf_orch.records.base import Record

if TYPE_CHECKING:
    from aiperf_orch.network import counts


class OperationsPerImage(Record):
    """Operations for one image: `forward` for validation, `train` (forward and backward) for training."""

    forward: Annotated[int, Field(ge=0, lt=10**40)]
    train: Annotated[int, Field(ge=0, lt=10**40)]

    @classmethod
    def of(cls, counted: counts.Operations) -> OperationsPerImage:
        """The record of a network's operations."""
        return cls(forward=counted.forward, train=counted.train)

    def of_images(self, *, trained: int, validated: int) -> int:
        """Operations of an epoch with these numbers of trained and validated images."""
        return trained * self.train + validated * self.forward
