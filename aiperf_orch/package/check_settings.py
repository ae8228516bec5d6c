"""Check of changes of settings: each states the value before it, may be made, and leaves what has counted."""

from __future__ import annotations

import json
import re
from collections import Counter

from pydantic import JsonValue

from aiperf_orch.campaign.commitment import SETTINGS_WITH_NAMES
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.package.clock_tolerance import CLOCK_TOLERANCE
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.pseudonyms import PSEUDONYM
from aiperf_orch.records.journal import SettingChange, SettingsChanged
from aiperf_orch.settings.changes import value_of


def check_change(index: PackageIndex, state: CampaignState, entry: SettingsChanged) -> None:
    """Check one change of settings.

    Which keys may change, and their values, were checked when the journal was read: see `CampaignState.settings`.

    Args:
        index: of the package.
        state: of the campaign before the change.
        entry: the journal's entry of the change.
    """
    before, after = index.settings_at(entry.seq), index.settings_at(entry.seq + 1)
    where = f"{MEMBERS.journal}:{entry.seq + 1}"
    for key, number in Counter(change.key for change in entry.changes).items():
        if number > 1:
            index.faults.add("settings.change", where, f"{key}: is changed {number} times in one line")
            return
    for change in entry.changes:
        key, present, following = change.key, value_of(before, change.key), value_of(after, change.key)
        if not _is_same(change.before, present):
            why = f"{key}: before: {change.before!r:.60} stated; {present!r:.60} was in force"
            index.faults.add("settings.before", where, why)
        elif not _is_same(change.after, following):
            why = f"{key}: after: {change.after!r:.60} stated; as a setting it is {following!r:.60}"
            index.faults.add("settings.change", where, why)
        elif _is_same(change.after, change.before) and not _has_pseudonym(change):
            index.faults.add("settings.change", where, f"{key}: after: {change.after!r:.60} is no change")
    fault = change_fault(state, before, after, entry.time, CLOCK_TOLERANCE)
    if fault is not None:
        index.faults.add("settings.change", where, fault)


def _has_pseudonym(change: SettingChange) -> bool:
    """Whether pseudonyms may hide a difference: that of names which differ in case only, or by their domains."""
    section, _, name = change.key.partition(".")
    may_have = section == "scheduler" and name in SETTINGS_WITH_NAMES
    return may_have and re.search(PSEUDONYM, str(change.after)) is not None


def _is_same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values are the same text, which 2, 2.0 and true are not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
