"""Whether an earlier campaign predicts one with given settings: what must agree, and what is noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aiperf_orch.planning.campaign_size import TrialSize, trial_size
from aiperf_orch.results.result import Result
from aiperf_orch.settings.comparison import different_keys
from aiperf_orch.settings.models import SiteSettings, private_keys
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import count

_SECTIONS: Final = ("data", "network", "search", "training")
_MODELLED: Final = ("training.warmup_epochs", "training.epochs")  # the playback has the epochs of the plan
_MOST_KEYS: Final = 6


def check_source(path: Path, result: Result, settings: SiteSettings) -> None:
    """Refuse a campaign with another network, data set, trainer or size of a trial.

    Raises:
        UsageError: naming file, key and both values.
    """
    theirs = result.directory.settings
    pairs: list[tuple[str, Any, Any]] = [
        ("data.name", theirs.data.name, settings.data.name),
        ("size of images", theirs.data.input_shape, settings.data.input_shape),
        ("number of classes", theirs.data.outputs, settings.data.outputs),
        ("network.seed", theirs.network.seed, settings.network.seed),
        ("training.trainer", theirs.training.trainer, settings.training.trainer),
        ("training processes of a trial", _workers(result), trial_size(settings).workers),
    ]
    for what, before, now in pairs:
        if before != now:
            raise UsageError(
                f"{path}: its {what} is {before}, and that of the site is {now}: give a campaign that agrees with it, "
                "or change the site's by --set"
            )


def differences_of(result: Result, settings: SiteSettings) -> Iterator[str]:
    """Notes on settings that differ, and change what the prediction means."""
    unstated = {*_MODELLED, *(f"{section}.{key}" for section, key in private_keys())}
    differ = different_keys(result.directory.settings, settings) - unstated
    keys = sorted(key for key in differ if key.partition(".")[0] in _SECTIONS)
    if keys:
        more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
        yield (
            f"settings of campaign {result.directory.config.tag} differ, and their effect is not predicted: "
            f"{', '.join(keys[:_MOST_KEYS])}{more}"
        )
    numbers = [number for _, number in result.state.concurrency_history(result.directory.config.settings)]
    if len(numbers) > 1:
        stated = ", then ".join(map(str, numbers[:_MOST_KEYS]))
        yield (
            f"campaign {result.directory.config.tag} had {stated} trials at once: the idle time of its slots is less "
            "certain"
        )
    own, size = _trials_of_a_node(result), trial_size(settings)
    if own is not None and own != size.per_node:
        yield (
            f"campaign {result.directory.config.tag} had {count(own, 'trial')} on a node, and this one has "
            f"{size.per_node}: how trials on one node slow one another down is not predicted"
        )


def _workers(result: Result) -> int:
    """Training processes of a trial, as the begin lines state them; the settings' number where they do not agree."""
    stated = {begin.workers for trial in result.collected.trials for begin in trial.begins}
    return stated.pop() if len(stated) == 1 else trial_size(result.directory.settings).workers


def _trials_of_a_node(result: Result) -> int | None:
    """Slots of an agent; None where agents differ, or there are none and nodes are not shared."""
    agents = {agent.record.slots for agent in result.state.workforce.agents.values()}
    if len(agents) == 1:
        return agents.pop()
    size: TrialSize = trial_size(result.directory.settings)
    return None if agents else size.per_node
