"""Check of the readings of a meter in a package: the energy in result.csv follows from them."""

from __future__ import annotations

from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.results.metered import metered_of
from aiperf_orch.util.errors import AiperfError


def check_meter(index: PackageIndex) -> None:
    """Add the fault of the readings, if the package has any; `check_tables` compares what follows from them."""
    try:
        metered_of(index.result)
    except AiperfError as error:
        where, _, why = str(error).replace(f"{index.package.folder}/", "").partition(": ")
        index.faults.add("meter.readings", where, why)
