"""Comparison of campaigns, side by side: sections of rows with a cell for each campaign, for a terminal or a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final

from aiperf_orch.committee.compared_campaign import ComparedCampaign
from aiperf_orch.committee.score_factors import NAMES, main_factor
from aiperf_orch.results.report_data import IDLE_CAUSES
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_duration, format_number, format_ops

MOST_CAMPAIGNS: Final = len(ascii_uppercase)
_MUST_AGREE: Final = ("simulated", "data", "rules", "counting")
_Value = Callable[[ComparedCampaign], Any]


@dataclass(frozen=True)
class Row:
    """One quantity: a label, and its text for each campaign, `-` where a campaign has none."""

    label: str
    cells: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the campaigns have different texts."""
        return len(set(self.cells)) > 1


@dataclass(frozen=True)
class Section:
    """Rows under a title."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Comparison:
    """A comparison of campaigns.

    Attributes:
        letters: name of each campaign in the comparison: A, B and so on.
        conclusions: for each campaign but the first, the ratio of the scores and its largest factor.
        sections: of rows; none is empty.
        notes: why numbers are not verified, or not comparable.
        simulated: whether no training took place in any of the campaigns; a part of them is noted.
    """

    letters: Sequence[str]
    conclusions: Sequence[str]
    sections: Sequence[Section]
    notes: Sequence[str]
    simulated: bool


def compare(campaigns: Sequence[ComparedCampaign]) -> Comparison:
    """Compare campaigns; ratios refer to the first one.

    Raises:
        UsageError: for fewer than two campaigns, or too many.
    """
    if not 2 <= len(campaigns) <= MOST_CAMPAIGNS:
        raise UsageError(f"compare: give 2 to {MOST_CAMPAIGNS} packages or campaign directories, not {len(campaigns)}")
    letters = ascii_uppercase[: len(campaigns)]
    sections = (
        Section("Campaigns", _rows(campaigns, _CAMPAIGN)),
        Section("Result", _rows(campaigns, _RESULT)),
        Section("Score by factor", _factors(campaigns)),
        Section("Trials", _trials(campaigns)),
        Section("Nodes", _nodes(campaigns)),
        Section("Software", _software(campaigns)),
        Section("Settings that differ", _settings(campaigns)),
    )
    return Comparison(
        letters=letters,
        conclusions=list(_conclusions(campaigns)),
        sections=[section for section in sections if section.rows],
        notes=list(_notes(campaigns)),
        simulated=all(each.row["simulated"] == "yes" for each in campaigns),
    )


def _column(name: str, write: Callable[[Any], str] = str) -> _Value:
    """A column of result.csv, as text."""
    return lambda each: None if each.row[name] in (None, "") else write(each.row[name])


def _rankable(each: ComparedCampaign) -> str:
    return "yes" if each.row["rankable"] == "yes" else f"no: {each.row['missed_rules']}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _error(value: float) -> str:
    return f"{value:.2%}"


def _count(value: int) -> str:
    return f"{value:,}"


_CAMPAIGN: Final[dict[str, _Value]] = {
    "file": lambda each: str(each.path),
    "records": lambda each: each.kind,
    "remarks of verify": lambda each: each.remarks or None,
    "campaign": _column("campaign"),
    "system": _column("system"),
    "submitter": _column("submitter"),
    "rankable": _rankable,
    "rules": _column("rules"),
    "division": _column("division"),
    "data": _column("data"),
    "simulated": _column("simulated"),
    "state": _column("state"),
    "started": _column("started"),
    "duration limit": _column("duration_limit", format_duration),
    "questionnaire": lambda each: None if each.questionnaire is None else f"score {_percent(each.questionnaire)}",
}
_RESULT: Final[dict[str, _Value]] = {
    "score": _column("score", format_ops),
    "error": _column("error", _error),
    "regulated score": _column("regulated_score", format_ops),
    "operations": _column("operations", "{:.4g}".format),
    "time": _column("seconds", format_duration),
    "epochs": _column("epochs", _count),
    "images trained": _column("train_images", _count),
    "images validated": _column("val_images", _count),
    "images a second": _column("images_per_second", format_number),
    "waiting for data": _column("data_wait", _percent),
    "energy": _column("energy_joules", lambda joules: f"{format_number(joules / 3.6e6)} kWh"),
    "energy of": _column("energy_of"),
    "operations a joule": _column("operations_per_joule", format_number),
}
_NODES: Final[dict[str, _Value]] = {
    "nodes of the system": _column("number_of_nodes", _count),
    "hosts of trials": lambda each: _count(each.hosts),
    "accelerators a node": _column("accelerators_per_node", _count),
    "accelerator": _column("accelerator_model_name"),
    "devices of trials": lambda each: each.devices or None,
    "cores of a trial": lambda each: each.cores or None,
    "precision": _column("precision"),
    "scheduler": _column("scheduler"),
    "allocations": lambda each: _count(each.allocations) if each.allocations else None,
    "agents": lambda each: _count(each.agents) if each.agents else None,
}


def _rows(campaigns: Sequence[ComparedCampaign], values: dict[str, _Value]) -> list[Row]:
    return _known((label, [value(each) for each in campaigns]) for label, value in values.items())


def _known(rows: Iterable[tuple[str, list[Any]]]) -> list[Row]:
    """Rows without those of which no campaign has a text."""
    return [
        Row(label, ["-" if cell is None else str(cell) for cell in cells])
        for label, cells in rows
        if any(cell is not None for cell in cells)
    ]


def _factors(campaigns: Sequence[ComparedCampaign]) -> list[Row]:
    """The factors of each score, and their ratios to those of the first campaign."""
    quantities = [
        (NAMES["operations_per_image"], _factor("operations_per_image"), format_number),
        (NAMES["images_per_second"], _factor("images_per_second"), format_number),
        (NAMES["trials_at_work"], _factor("trials_at_work"), format_number),
        ("- of trials at once", _factor("concurrency"), format_number),
        ("- share at work", _factor("time_at_work"), _percent),
        ("= score", lambda each: each.row["score"], format_ops),
        ("-ln(error)", _logarithm, format_number),
        ("= regulated score", lambda each: each.row["regulated_score"], format_ops),
    ]
    return _known(
        (label, _with_ratios([value(each) for each in campaigns], write)) for label, value, write in quantities
    )


def _factor(name: str) -> Callable[[ComparedCampaign], float | None]:
    return lambda each: getattr(each.factors, name, None)


def _logarithm(each: ComparedCampaign) -> float | None:
    """The factor of the regulated score; an error of 0 counts as half an image."""
    score, regulated = each.row["score"], each.row["regulated_score"]
    return regulated / score if score and regulated is not None else None


def _with_ratios(values: list[float | None], write: Callable[[float], str]) -> list[str | None]:
    """Texts of values, those that differ from the first with their ratio to it."""
    first, texts = values[0], [None if value is None else write(value) for value in values]
    return [
        f"{text} (x {format_number(value / first)})" if first and value is not None and text != texts[0] else text
        for value, text in zip(values, texts, strict=True)
    ]


def _trials(campaigns: Sequence[ComparedCampaign]) -> list[Row]:
    reasons = sorted({reason for each in campaigns for reason in each.attempts})
    values: dict[str, _Value] = {
        "trials": _column("trials", _count),
        "networks": _column("networks", _count),
        "epochs a trial": lambda each: (
            format_number(each.row["epochs"] / each.row["trials"]) if each.row["trials"] else None
        ),
        "median epoch": lambda each: None if each.median_epoch is None else format_duration(each.median_epoch),
        "failed attempts": lambda each: _count(each.failed),
    }
    ends = [(f"ended {reason}", [_count(each.attempts.get(reason, 0)) for each in campaigns]) for reason in reasons]
    return _rows(campaigns, values) + _known(ends)


def _nodes(campaigns: Sequence[ComparedCampaign]) -> list[Row]:
    hours = [each.node_hours if each.node_hours and each.node_hours.given else None for each in campaigns]
    shares = [{name: (spent, share) for name, spent, share in each.shares()} if each else {} for each in hours]
    given = [format_number(each.given) if each else None for each in hours]
    at_work = [_hours(each.at_work, each.at_work / each.given) if each else None for each in hours]
    idle = [
        (label.lower(), [_hours(*known[cause]) if known else None for known in shares])
        for cause, label in IDLE_CAUSES.items()
    ]
    return _rows(campaigns, _NODES) + _known([("node-hours given", given), ("node-hours at work", at_work), *idle])


def _hours(spent: float, share: float) -> str:
    return f"{format_number(spent)} ({_percent(share)})"


def _software(campaigns: Sequence[ComparedCampaign]) -> list[Row]:
    """Versions that the trials state; those of the controller stand in campaign.yaml."""
    names = sorted({name for each in campaigns for name in each.software})
    controller = {
        "controller": _column("aiperf_orch", "aiperf-orch {}".format),
        "controller's Python": _column("python"),
    }
    return _rows(campaigns, controller) + _known(
        (name, [each.software.get(name) for each in campaigns]) for name in names
    )


def _settings(campaigns: Sequence[ComparedCampaign]) -> list[Row]:
    keys = dict.fromkeys(key for each in campaigns for key in each.settings)
    rows = [Row(key, [_setting(each.settings.get(key)) for each in campaigns]) for key in keys]
    return [row for row in rows if row.differs]


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _conclusions(campaigns: Sequence[ComparedCampaign]) -> Iterator[str]:
    first = campaigns[0]
    for letter, each in zip(ascii_uppercase[1:], campaigns[1:], strict=False):
        if first.factors is None or each.factors is None:
            yield f"{letter} and A have no ratio: one of them has no score"
            continue
        name, ratio = main_factor(first.factors, each.factors)
        line = f"{letter} has {format_number(each.row['score'] / first.row['score'])} times the score of A"
        if math.isclose(ratio, 1.0, rel_tol=1e-9):
            yield f"{line}: their factors are equal"
        else:
            yield f"{line}; the factor that differs most is {name}: x {format_number(ratio)}"


def _notes(campaigns: Sequence[ComparedCampaign]) -> Iterator[str]:
    first = campaigns[0]
    for each in campaigns:
        if each.warning:
            yield f"{each.path}: {each.warning}"
        if each.row["state"] != "finished":
            yield f"{each.path}: its campaign is {each.row['state']}"
        for column in _MUST_AGREE:
            if each.row[column] != first.row[column]:
                yield (
                    f"{each.path}: {column} is {each.row[column]}, but {first.row[column]} in {first.path}: "
                    "the scores are not comparable"
                )
