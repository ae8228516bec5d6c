"""Access control lists and job limits of a PBS queue or server, applied to a submitter; runs no command.

Lists are evaluated as PBS does: the first matching entry decides; a `-` before it denies access; a sign without a name
sets the default, which otherwise is to deny access. Limits are read in both syntaxes, `max_run = [u:PBS_GENERIC=4]` and
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

from aiperf_orch.schedulers.pbs.inventory import QueueOrServer, parse_amount, split_list, unit_of
from aiperf_orch.util import users

_OLD_NAMES: Final = {
    "max_run": ("max_user_run", "max_group_run", "max_running"),
    "max_queued": ("max_queuable",),
    "max_run_res": ("max_user_res", "max_group_res"),
}
"""Names of each limit before PBS 10, which servers still accept."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """The user who submits jobs.

    Args:
        user: user name.
        group: primary group, which is the group of the jobs.
        groups: all groups of the user.
        hosts: names of the host from which jobs are submitted, in lower case.
    """

    user: str
    group: str
    groups: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def current(cls) -> Submitter:
        """The user and the host of this process."""
        user, group = users.current_user(), users.current_group()
        numbers = os.getgrouplist(user, group)
        hosts = {socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(user, _group_name(group), frozenset(map(_group_name, numbers)), frozenset(hosts))

    def submits_from(self, host: str) -> bool:
        """Whether an entry of a list of hosts, `login1.example.org` or `*.example.org`, matches the host."""
        wanted = host.lower()
        if wanted.startswith("*"):
            return any(each.endswith(wanted[1:]) for each in self.hosts)
        return wanted in self.hosts


@dataclass(frozen=True, slots=True)
class JobLimit:
    """A maximum number of trials.

    Args:
        jobs: maximum number of trials at the same time.
        why: the limit that imposes it, as PBS shows it.
    """

    jobs: int
    why: str


def denying_list(scope: QueueOrServer, who: Submitter) -> str | None:
    """Name of the list of users or groups that denies access to a queue or server; None if access is allowed."""

    def is_user(name: str, denies: bool) -> bool:
        user, _, host = name.partition("@")
        # PBS may know this host by another name: an entry with a host denies only if that is certainly this host
        return user == who.user and (not denies or host in ("", "*") or who.submits_from(host))

    if scope.is_true("acl_user_enable") and not _allows(scope, "acl_users", is_user):
        return "acl_users"
    if scope.is_true("acl_group_enable") and not _allows(scope, "acl_groups", lambda name, _: name in who.groups):
        return "acl_groups"
    return None


def denies_host(scope: QueueOrServer, who: Submitter) -> bool:
    """Whether the list of hosts denies access to the submitter's host, under the names that the host has for itself."""
    return scope.is_true("acl_host_enable") and not _allows(scope, "acl_hosts", lambda name, _: who.submits_from(name))


def job_limit(
    scope: QueueOrServer,
    kind: Literal["run", "queued"],
    who: Submitter,
    project: str | None,
    requested: Mapping[str, int],
) -> JobLimit | None:
    """The tightest limit on the trials of a submitter that run, or are queued, at the same time; None if there is none.

    Args:
        scope: a queue or the server.
        kind: whether to limit running jobs or jobs in the queue.
        who: the submitter.
        project: project of the jobs; None if they have none.
        requested: amounts that the job of a trial requests, by resource; memory in KiB.
    """
    found = []
    maximum = _limit(scope, f"max_{kind}", "", who, project)
    if maximum is not None:
        found.append(JobLimit(maximum, f"max_{kind} = {maximum}"))
    for resource, amount in requested.items():
        maximum = _limit(scope, f"max_{kind}_res", f".{resource}", who, project)
        if amount and maximum is not None:
            unit = unit_of(resource)
            why = f"max_{kind}_res.{resource} = {maximum}{unit}, and a job asks for {amount}{unit}"
            found.append(JobLimit(maximum // amount, why))
    return min(found, key=lambda limit: limit.jobs, default=None)


def _limit(scope: QueueOrServer, name: str, suffix: str, who: Submitter, project: str | None) -> int | None:
    """The tightest limit of a name on the user, their group, the project, and all jobs together; None if there is none.

    Args:
        scope: a queue or the server.
        name: `max_run`, `max_queued`, or the same with `_res`.
        suffix: `.RESOURCE` for a limit on a resource, else empty.
        who: the submitter.
        project: project of the jobs; None if they have none.
    """
    limits = {
        (kind, entity.strip()): value
        for kind, entity, value in re.findall(
            r'\[([ugpo]):"?([^="\]]+)"?=([^\]]+)\]', scope.attributes.get(name + suffix, "")
        )
    }
    applicable = [limits.get(("o", "PBS_ALL"))]
    for kind, entity in (("u", who.user), ("g", who.group), ("p", project)):
        if entity:
            applicable.append(limits.get((kind, entity), limits.get((kind, "PBS_GENERIC"))))
    applicable += [scope.attributes.get(old_name + suffix) for old_name in _OLD_NAMES.get(name, ())]
    amounts = [parse_amount(suffix[1:], text) for text in applicable if text]
    return min((amount for amount in amounts if amount is not None), default=None)


def _allows(scope: QueueOrServer, attribute: str, matches: Callable[[str, bool], bool]) -> bool:
    """Evaluate an access control list.

    Args:
        scope: a queue or the server.
        attribute: name of the list.
        matches: whether an entry matches the submitter, by its name and whether it denies access.
    """
    default = False
    for entry in split_list(scope.attributes.get(attribute, "")):
        denies, name = entry.startswith("-"), entry.lstrip("+-")
        if not name:
            default = not denies
        elif matches(name, denies):
            return not denies
    return default


def _group_name(number: int) -> str:
    """Name of a group; its number if the name service has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
