"""Changes that alter score, error or verdict and that verify cannot know, each with the reason.

docs/guides/committee.md says the same for readers, under "What verify cannot know". A replay is made of every forgery
that nothing else finds: what passes in a campaign whose trials the search proposed has passed the replay, too.
"""

from __future__ import annotations

from typing import Final

from package.forger.changes import Change

_CLOCKS = "times are those of the clocks of nodes and login node; only the scheduler has others"
_PROPOSED = "the search proposed another network, which --replay finds; here the search proposed none"
_ERRORS = "--replay finds it where a later proposal differs: not for the last trials, and few for a few images"
_LESS = "an attempt that did not end by itself may have any number of epochs"
_COMMITMENT = "settings are held by --commitment only, where the site announced them"

UNDETECTABLE: Final[dict[tuple[str, str], str]] = {
    **{("times", which): _CLOCKS for which in ("later", "attempt", "events", "epochs")},
    ("Begin", "time"): _CLOCKS,
    ("BeganRecord", "time"): _CLOCKS,
    ("Begin", "clock_skew"): "only the node compared its clock with that of the file server",
    ("Epoch", "start"): _CLOCKS,
    ("Epoch", "end"): _CLOCKS,
    ("Epoch", "error"): _ERRORS,
    ("ProposalRecord", "edits"): _PROPOSED,
    ("ProposalRecord", "parent"): _PROPOSED,
    **{("Edit", field): _PROPOSED for field in ("kind", "at", "kernel")},
    ("lines", "begin"): _LESS,
    ("lines", "epoch"): _LESS,
    ("lines", "finished"): "a campaign that did not finish misses one rule more",
    ("Settings", "campaign.duration"): _COMMITMENT,
}
"""(kind of record, field) -> why verify finds no fault. `times` are shifted together, `lines` are removed."""


def why_undetectable(change: Change, *, searched: bool) -> str | None:
    """The reason why a change passes; None where it should be found.

    Args:
        change: that was made.
        searched: whether the search proposed the trials of the campaign, so that a replay finds other networks.
    """
    why = UNDETECTABLE.get((change.record, change.field))
    return None if searched and why == _PROPOSED else why
