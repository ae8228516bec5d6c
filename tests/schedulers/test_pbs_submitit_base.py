"""Private parts of submitit that the plugin for PBS uses: this fails if a new version of submitit changes one."""

import importlib
import inspect

import pytest
from submitit.core import core, job_environment

from aiperf_orch.schedulers.pbs.submitit_base import PRIVATE_PARTS, StateWatcher, SubmitExecutor, VariablesEnvironment

pytestmark = pytest.mark.unit

OVERRIDDEN = [
    (base, ours, name)
    for base, ours in (
        (core.InfoWatcher, StateWatcher),
        (core.PicklingExecutor, SubmitExecutor),
        (job_environment.JobEnvironment, VariablesEnvironment),
    )
    for name in vars(ours)
    if not name.startswith("__") and callable(getattr(base, name, None))
]


class Watcher(StateWatcher):
    """Knows no job, and records what it was asked."""

    def __init__(self, complete=True):
        super().__init__()
        self.queries, self.complete = [], complete

    def query(self, jobs):
        self.queries.append(jobs)
        self.record(dict.fromkeys(jobs & {"1"}, "COMPLETED"))
        return self.complete

    def get_state(self, job_id, mode="standard"):
        return self.get_info(job_id, mode=mode).get("State", "UNKNOWN")


@pytest.mark.parametrize("part", PRIVATE_PARTS)
def test_submitit_has_the_private_part(part):
    path, class_name, name = part.rsplit(".", 2)
    owner = getattr(importlib.import_module(path), class_name)
    if owner is core.InfoWatcher:
        assert name in vars(core.InfoWatcher())
    elif name in ("_throttling", "_last_job_submitted"):
        assert f"self.{name} = " in inspect.getsource(owner.__init__)
    else:
        assert name in vars(owner)
    assert PRIVATE_PARTS[part]


@pytest.mark.parametrize(("base", "ours", "name"), OVERRIDDEN, ids=[name for _, _, name in OVERRIDDEN])
def test_an_overridden_method_has_the_signature_of_submitit(base, ours, name):
    signatures = [inspect.signature(getattr(owner, name)) for owner in (base, ours)]
    assert list(signatures[0].parameters) == list(signatures[1].parameters)


@pytest.mark.parametrize("ours", [StateWatcher, SubmitExecutor, VariablesEnvironment])
def test_every_private_part_is_listed(ours):
    listed = {part.rpartition(".")[2] for part in PRIVATE_PARTS}
    source = inspect.getsource(inspect.getmodule(ours))
    used = {word for word in source.replace("(", " ").replace(".", " ").split() if word.startswith("_")}
    private = {word.strip(":,") for word in used if not word.startswith(("__", "_NOT_CALLED"))}
    assert {word for word in private if word.isidentifier()} <= listed


def test_only_jobs_whose_end_is_not_known_are_queried():
    watcher = Watcher()
    watcher.update()
    assert watcher.num_calls == 0
    for job in ("1", "2"):
        watcher.register_job(job)
    watcher.update()
    watcher.update()
    assert (watcher.queries, watcher.num_calls) == ([{"1", "2"}, {"2"}], 2)
    assert (watcher.get_state("1", "cache"), watcher.get_state("2", "cache")) == ("COMPLETED", "UNKNOWN")


@pytest.mark.parametrize(("complete", "calls"), [(True, 1), (False, 2)])
def test_an_incomplete_query_makes_the_next_one_due(complete, calls):
    watcher = Watcher(complete)
    watcher.register_job("2")
    for _ in range(2):
        watcher.update_if_long_enough("standard")
    assert watcher.num_calls == calls
