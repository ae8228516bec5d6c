"""Who submits jobs to PBS, and what a queue's or the server's lists and limits let them have. Asks PBS nothing.

Lists are read as PBS reads them: the first entry that fits decides, `-` before it denies, a sign alone is for those that
none fits, and without one they are denied. Limits are those of both generations, `max_run = [u:PBS_GENERIC=4]` and
`max_user_run = 4`.
"""

from __future__ import annotations

import grp
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from aiperf_orch.schedulers.pbs.inventory import QueueOrServer, listed, parse_amount, unit_of
from aiperf_orch.util import users

_OLDER: Final = {
    "max_run": ("max_user_run", "max_group_run", "max_running"),
    "max_queued": ("max_queuable",),
    "max_run_res": ("max_user_res", "max_group_res"),
}
"""Names of a limit before PBS 10, which servers still take."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """A user with the `group` that their jobs have, all of their `groups`, and the names of the `hosts` they submit from."""

    user: str
    group: str
    groups: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def current(cls) -> Submitter:
        """Who runs this process, and where."""
        user, group = users.current_user(), users.current_group()
        numbers = os.getgrouplist(user, group)
        hosts = {socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(user, _group_name(group), frozenset(map(_group_name, numbers)), frozenset(hosts))

    def is_on(self, host: str) -> bool:
        """Whether a list's host, `login1.example.org` or `*.example.org`, is one of theirs."""
        wanted = host.lower()
        if wanted.startswith("*"):
            return any(each.endswith(wanted[1:]) for each in self.hosts)
        return wanted in self.hosts


@dataclass(frozen=True, slots=True)
class JobLimit:
    """So many trials may be there at once, because of this limit."""

    jobs: int
    why: str


def denying_list(place: QueueOrServer, who: Submitter) -> str | None:
    """The list of users or groups that keeps somebody out of a queue; None where they are let in."""

    def is_user(name: str, denied: bool) -> bool:
        user, _, host = name.partition("@")
        # PBS may know this host by another name: an entry with a host denies only where that is surely ours
        return user == who.user and (not denied or host in ("", "*") or who.is_on(host))

    if place.is_true("acl_user_enable") and not _admits(place, "acl_users", is_user):
        return "acl_users"
    if place.is_true("acl_group_enable") and not _admits(place, "acl_groups", lambda name, _: name in who.groups):
        return "acl_groups"
    return None


def denies_host(place: QueueOrServer, who: Submitter) -> bool:
    """Whether the list of hosts does not hold the one submitted from, by a name that it knows of itself."""
    return place.is_true("acl_host_enable") and not _admits(place, "acl_hosts", lambda name, _: who.is_on(name))


def job_limit(
    place: QueueOrServer, kind: Literal["run", "queued"], who: Submitter, project: str | None, asked: Mapping[str, int]
) -> JobLimit | None:
    """How many trials of a submitter may run, or be in the queue, at once; None is no limit.

    Args:
        place: a queue, or the server.
        kind: which of the two.
        who: the submitter.
        project: of the jobs, where they have one.
        asked: what a trial's job asks for, by resource; memory in KiB.
    """
    found = []
    most = _limit(place, f"max_{kind}", "", who, project)
    if most is not None:
        found.append(JobLimit(most, f"max_{kind} = {most}"))
    for resource, amount in asked.items():
        most = _limit(place, f"max_{kind}_res", f".{resource}", who, project)
        if amount and most is not None:
            unit = unit_of(resource)
            why = f"max_{kind}_res.{resource} = {most}{unit}, and a trial asks for {amount}{unit}"
            found.append(JobLimit(most // amount, why))
    return min(found, key=lambda limit: limit.jobs, default=None)


def _limit(place: QueueOrServer, name: str, resource: str, who: Submitter, project: str | None) -> int | None:
    """The tightest limit of this name on a user, their group, the project, and all together."""
    limits = {
        (kind, entity.strip()): value
        for kind, entity, value in re.findall(
            r'\[([ugpo]):"?([^="\]]+)"?=([^\]]+)\]', place.attributes.get(name + resource, "")
        )
    }
    applying = [limits.get(("o", "PBS_ALL"))]
    for kind, entity in (("u", who.user), ("g", who.group), ("p", project)):
        if entity:
            applying.append(limits.get((kind, entity), limits.get((kind, "PBS_GENERIC"))))
    applying += [place.attributes.get(older + resource) for older in _OLDER.get(name, ())]
    amounts = [parse_amount(resource[1:], text) for text in applying if text]
    return min((amount for amount in amounts if amount is not None), default=None)


def _admits(place: QueueOrServer, attribute: str, fits: Callable[[str, bool], bool]) -> bool:
    """Whether a list lets in whom `fits` knows by an entry's name, told whether the entry denies."""
    others = False
    for entry in listed(place.attributes.get(attribute, "")):
        denied, name = entry.startswith("-"), entry.lstrip("+-")
        if not name:
            others = not denied
        elif fits(name, denied):
            return not denied
    return others


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
