"""A short run of the fuzzing of all readers; `tests/fuzz/run.py` is the long one."""

from __future__ import annotations

import warnings
from itertools import islice
from random import Random

import pytest

from fuzz.mutation import mutated
from fuzz.reader import MOST_GROWTH, Reader, peak_memory
from fuzz.readers import READERS

_PARAMETERS = [
    pytest.param(reader, id=reader.name, marks=() if reader.loads_torch else pytest.mark.unit)
    for reader in READERS.values()
]


@pytest.mark.parametrize("reader", _PARAMETERS)
def test_a_valid_input_is_read(reader: Reader) -> None:
    for seed in reader.seeds():
        reader.read(seed)


@pytest.mark.parametrize("reader", _PARAMETERS)
def test_a_changed_input_is_read_or_refused(reader: Reader) -> None:
    before = peak_memory()
    seeds = reader.seeds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in islice(mutated(seeds, Random(reader.name)), reader.quick_runs):
            try:
                reader.check_in_time(data)
            except Exception as error:
                pytest.fail(f"{type(error).__name__}: {error}: of {data[:2000]!r}")
    assert peak_memory() - before < MOST_GROWTH
