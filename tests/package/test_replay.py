"""Replay of the search: honest packages differ in no proposal, and forged ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.verify import replay_request, verify_package
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.package import check_replay
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.package.verify import Verification, verify
from aiperf_orch.records.journal import AttemptRecord, ProposalRecord
from aiperf_orch.search import SEARCH_VERSION, JournalSearch
from aiperf_orch.util.errors import UsageError
from controller.builders import PROPOSAL
from package.searched_campaign import Forgery, make


def record_proposals(monkeypatch: pytest.MonkeyPatch, proposed: list[int]) -> None:
    """Append the number of each trial that a search proposes from now on."""
    propose = JournalSearch.propose

    def recording(self: JournalSearch, trial: int, **options: Any) -> Any:
        proposed.append(trial)
        return propose(self, trial, **options)

    monkeypatch.setattr(JournalSearch, "propose", recording)


def shown(found: Verification) -> list[str]:
    return [f"{fault.id} {fault}" for fault in found.faults]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("honest"))


def test_all_proposals_of_an_honest_package_are_made_again(honest: Path) -> None:
    found = verify(honest, replay=ReplayRequest())
    assert shown(found) == []
    assert [(remark.id, remark.message) for remark in found.remarks] == [
        ("replay.done", "16 of 16 proposals were made again: none differs")
    ]
    assert verify(honest).remarks == []


@pytest.mark.parametrize(
    "forgery",
    [
        Forgery(error={0: 0.25}),
        Forgery(error={5: 9 / 360}),
        Forgery(seed=8),
        Forgery(forecast={1: 0.01}),
        Forgery(network={15: (Edit("wider", 1), Edit("wider", 1))}),
    ],
    ids=["first error", "a later error", "seed", "forecast", "last network"],
)
def test_a_forgery_that_is_consistent_otherwise_is_found(forgery: Forgery, tmp_path: Path) -> None:
    package = make(tmp_path, forgery)
    assert shown(verify(package)) == []
    found = verify(package, replay=ReplayRequest())
    assert {fault.id for fault in found.faults} == {"proposal.replay"}, shown(found)
    assert found.faults[0].where.startswith("journal.jsonl:")
    assert "not what the search proposes after the lines before it" in found.faults[0].message
    assert f"{len(found.faults)} differ" in found.remarks[0].message


def test_a_package_with_pseudonyms_is_replayed(honest: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pseudonyms.tar.gz"
    write_package(CampaignDirectory.open(honest.parent / "campaign"), packed, with_pseudonyms=True)
    found = verify(packed, replay=ReplayRequest())
    assert shown(found) == []
    assert [remark.id for remark in found.remarks] == ["replay.done"]


def test_a_number_draws_the_proposals_that_are_made_again(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proposed: list[int] = []
    record_proposals(monkeypatch, proposed)
    drawn = []
    for draw in (1, 1, 2):
        proposed.clear()
        found = verify(honest, replay=ReplayRequest(5, draw))
        assert (
            found.remarks[0].message == f"5 of 16 proposals were made again, drawn by the number {draw}: none differs"
        )
        drawn.append(list(proposed))
    assert drawn[0] == drawn[1] == [1, 3, 6, 11, 13]
    assert drawn[2] != drawn[0]
    assert ReplayRequest(5).draw != ReplayRequest(5).draw


def test_last_digits_of_numbers_of_another_machine_are_a_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose = JournalSearch.propose

    def with_other_digits(self: JournalSearch, trial: int, **options: Any) -> Any:
        proposal, record = propose(self, trial, **options)
        point = record.hyperparameters
        changed = point.model_copy(update={"dropout": point.dropout * (1 + 1e-14)})
        return proposal, record.model_copy(update={"hyperparameters": changed})

    with monkeypatch.context() as other_machine:
        other_machine.setattr(JournalSearch, "propose", with_other_digits)
        package = make(tmp_path)
    found = verify(package, replay=ReplayRequest())
    assert shown(found) == []
    assert [remark.id for remark in found.remarks] == ["replay.done", "replay.arithmetic"]
    assert "10 of 16 proposals differ by the last digits" in found.remarks[1].message


class RoundedElsewhere:
    """A search that proposes the recorded trial with a bound that is rounded differently by this offset only."""

    def __init__(self, recorded: ProposalRecord, offset: float) -> None:
        self.recorded, self.offset = recorded, offset
        self.offsets: list[float] = []

    def propose(self, trial: int, *, bound_offset: float = 0.0) -> Any:
        self.offsets.append(bound_offset)
        if bound_offset == self.offset:
            return None, self.recorded
        return None, self.recorded.model_copy(update={"network_hash": "1" * 64})


@pytest.mark.parametrize(
    ("offset", "explained"), [(1e-12, True), (-1e-10, True), (1e-7, False)], ids=["least bits", "more bits", "visible"]
)
def test_a_bound_that_is_rounded_differently_explains_a_network(offset: float, explained: bool) -> None:
    record = AttemptRecord(trial=3, attempt=1, name="qk3f9-00003-1", spec_sha256="0" * 64, proposal=PROPOSAL)
    search = RoundedElsewhere(PROPOSAL, offset)
    assert check_replay._by_arithmetic(cast(JournalSearch, search), record) is explained
    assert search.offsets[0] == 0.0
    assert len(search.offsets) <= 13


def test_arithmetic_is_tried_for_few_differences_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make(tmp_path, Forgery(seed=8))
    proposed: list[int] = []
    record_proposals(monkeypatch, proposed)
    monkeypatch.setattr(check_replay, "_MOST_EXPLAINED", 2)
    assert len(verify(package, replay=ReplayRequest()).faults) > 10
    assert len(proposed) == 16 + 2 * 13


def test_proposals_of_another_search_version_are_not_judged(tmp_path: Path) -> None:
    found = verify(make(tmp_path, Forgery(seed=8), versions=(None, SEARCH_VERSION + 1)), replay=ReplayRequest())
    assert shown(found) == []
    assert [(remark.id, remark.message) for remark in found.remarks] == [
        (
            "replay.version",
            f"16 of 16 proposals are of version {SEARCH_VERSION + 1} of the search and of a search whose version is "
            f"not named, and were not made again: this aiperf-orch has version {SEARCH_VERSION}",
        )
    ]


def test_only_proposals_of_this_search_version_are_made_again(tmp_path: Path) -> None:
    found = verify(make(tmp_path, versions=(SEARCH_VERSION + 1, SEARCH_VERSION)), replay=ReplayRequest())
    assert shown(found) == []
    assert [remark.id for remark in found.remarks] == ["replay.version", "replay.done"]
    assert "8 of 8 proposals were made again: none differs" in found.remarks[1].message


def test_an_installation_without_the_reference_proposals_does_not_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make(tmp_path, Forgery(seed=8))
    monkeypatch.setattr(check_replay, "has_reference_proposals", lambda: False)
    found = verify(package, replay=ReplayRequest())
    assert shown(found) == []
    assert [remark.id for remark in found.remarks] == ["replay.installation"]


@pytest.mark.parametrize("endless", ["propose", "feed"])
def test_the_replay_ends_with_its_time_limit(
    endless: str, honest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[object] = []

    def never_ends(self: JournalSearch, *_: Any, **_options: Any) -> Any:
        begun.append(self)
        while True:
            pass

    monkeypatch.setattr(JournalSearch, endless, never_ends)
    found = verify(honest, replay=ReplayRequest(seconds=0.2))
    assert begun
    assert shown(found) == []
    assert [(remark.id, remark.message) for remark in found.remarks] == [
        (
            "replay.time",
            "0 of 16 proposals were made again: none differs; the time limit of 0.2s ended the replay; "
            "--replay-time DURATION sets another one",
        )
    ]


def test_proposals_before_the_time_limit_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    propose = JournalSearch.propose

    def ends_at_trial_12(self: JournalSearch, trial: int, **options: Any) -> Any:
        if trial == 12:
            raise check_replay._OutOfTimeError
        return propose(self, trial, **options)

    package = make(tmp_path, Forgery(error={0: 0.25}))
    monkeypatch.setattr(JournalSearch, "propose", ends_at_trial_12)
    found = verify(package, replay=ReplayRequest())
    assert {fault.id for fault in found.faults} == {"proposal.replay"}
    assert found.remarks[0].id == "replay.time"
    assert found.remarks[0].message.startswith(f"12 of 16 proposals were made again: {len(found.faults)} differ; ")
    assert "the time limit of 1m02s ended the replay" in found.remarks[0].message


def test_a_package_with_faults_is_not_replayed(tampered: Any, tmp_path: Path) -> None:
    tampered.files.pop("trials/00002.json")
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"), replay=ReplayRequest())
    assert found.faults
    assert [remark.id for remark in found.remarks if remark.id.startswith("replay.")] == ["replay.skipped"]


def test_the_command_prints_remarks(honest: Path) -> None:
    output = verify_package(honest, None, "table", replay=ReplayRequest(3, 7))
    assert output.exit_status == 0
    remark = "remark           replay.done  journal.jsonl: 3 of 16 proposals were made again, drawn by the number 7"
    assert remark in output.text
    assert '"remarks": [' in verify_package(honest, None, "json", replay=ReplayRequest(3, 7)).text


@pytest.mark.parametrize(
    ("wanted", "draw", "request_"),
    [(None, None, None), ("all", None, (None, None)), ("20", 5, (20, 5)), ("20", None, (20, None))],
)
def test_options_become_a_request(wanted: str | None, draw: int | None, request_: tuple[Any, Any] | None) -> None:
    made = replay_request(wanted, draw)
    if made is None or request_ is None:
        assert made is request_
    else:
        assert made.most == request_[0]
        assert request_[1] in (None, made.draw)


def test_the_time_limit_grows_with_the_proposals_unless_it_is_given() -> None:
    assert ReplayRequest().time_limit(50) == 65
    given = replay_request("20", 5, "30m")
    assert given is not None
    assert given.time_limit(50) == 1800


@pytest.mark.parametrize(
    ("wanted", "draw", "duration"),
    [
        ("package.tar.gz", None, None),
        ("0", None, None),
        ("all", 3, None),
        (None, 3, None),
        ("²", None, None),
        (None, None, "30m"),
        ("all", None, "soon"),
        ("all", None, "0s"),
    ],
)
def test_options_that_fit_no_request_are_refused(wanted: str | None, draw: int | None, duration: str | None) -> None:
    with pytest.raises(UsageError, match="--replay"):
        replay_request(wanted, draw, duration)
