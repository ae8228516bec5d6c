"""Findings of `check --every-node`, and its page: nodes that are not fit for a campaign, and those that are slow."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from aiperf_orch.doctor.findings import Finding, Level, ok, warning
from aiperf_orch.doctor.node_jobs import NodeResult
from aiperf_orch.records.probe import NodeCheck
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.text import one_line, visible, wrap_text
from aiperf_orch.util.units import count, format_duration

WIDTH: Final = 80
_CLOCK_SKEW: Final = 1.0  # seconds
_SLOW_SHARE: Final = 0.8
_DEVIATIONS: Final = 3.0
_MAD_TO_SIGMA: Final = 1.4826  # of normally distributed values
_LEAST_OTHERS: Final = 2
_MOST_NAMES: Final = 8
_MOST_REASON: Final = 160  # characters
_SUBJECT: Final = 11  # columns


def evaluate_nodes(results: Sequence[NodeResult], settings: SiteSettings) -> Iterator[Finding]:
    """Findings of all nodes: one or more of each subject.

    Args:
        results: What is known of each node.
        settings: Settings of the campaign.
    """
    checks = {result.host: result.check for result in results if result.check}
    yield from _grouped(
        "job",
        {result.host: result.why for result in results if result.tried and not result.check},
        f"ran on {count(len(checks), 'node')}",
        "see that the nodes have the complete environment and the campaign's file system: scheduler.python, setup",
        ok_if=bool(checks),
    )
    if checks:
        yield from _environment(checks)
        yield from _network(checks, settings)
        yield from _disks(checks)
        yield from _speed(checks)
        yield _clock(checks)
        yield from _first_steps(checks)
    yield from _grouped(
        "not tried", {result.host: result.why for result in results if not result.tried}, "", "", level=Level.WARNING
    )


def slow_nodes(rates: Mapping[str, float]) -> dict[str, float]:
    """Nodes that are slow, and their rates as a share of the median of the other nodes.

    A node is slow when its rate is below 80 % of the median of all others, and also below that median by more than
    three standard deviations, which the median absolute deviation of the others estimates. Nodes that are slow
    themselves change neither, as long as they are fewer than half. With fewer than two others nothing is known.

    Args:
        rates: node -> rate, higher is faster.
    """
    found = {}
    for node, rate in rates.items():
        others = [other for name, other in rates.items() if name != node]
        if len(others) < _LEAST_OTHERS:
            continue
        median = statistics.median(others)
        deviation = _MAD_TO_SIGMA * statistics.median(abs(other - median) for other in others)
        if rate < min(_SLOW_SHARE * median, median - _DEVIATIONS * deviation):
            found[node] = rate / median
    return found


def page(findings: Sequence[Finding], title: str, nodes: int) -> str:
    """The findings as one page of at most 80 columns, which begins with whether the nodes are ready.

    Args:
        findings: Of `evaluate_nodes`.
        title: What was checked, in one line.
        nodes: Number of nodes that were examined.
    """
    faults = sum(finding.level is Level.FAULT for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if not nodes:
        verdict = "nothing is known: no node was examined"
    elif faults:
        verdict = f"not ready: {count(faults, 'fault')}, {count(warnings, 'warning')} on {count(nodes, 'node')}"
    else:
        verdict = f"ready: {count(nodes, 'node')} examined, {count(warnings, 'warning')}"
    lines = [*wrap_text(visible(title), WIDTH), verdict, ""]
    for finding in findings:
        head = f"{finding.level.value:8} {finding.subject:{_SUBJECT}}"
        texts = [finding.message, *([f"-> {finding.advice}"] if finding.advice else [])]
        wrapped = [line for text in texts for line in wrap_text(visible(text), WIDTH - len(head) - 1)]
        lines += [f"{head} {wrapped[0]}", *(f"{'':{len(head)}} {line}" for line in wrapped[1:])]
    return "\n".join(lines) + "\n"


def _grouped(
    subject: str,
    why: Mapping[str, str],
    well: str,
    advice: str,
    *,
    level: Level = Level.FAULT,
    ok_if: bool = True,
) -> Iterator[Finding]:
    """A finding for each reason, with the nodes that have it; one that is ok where no node has any.

    Args:
        subject: Subject of the findings.
        why: node -> reason.
        well: Message where there is no reason; empty for no finding then.
        advice: What to do.
        level: Level of the findings.
        ok_if: Whether a finding that is ok makes sense.
    """
    if not why and well and ok_if:
        yield ok(subject, well)
    reasons: dict[str, list[str]] = {}
    for host, reason in why.items():
        reasons.setdefault(one_line(reason)[:_MOST_REASON], []).append(host)
    for reason, hosts in reasons.items():
        yield Finding(level, subject, f"{_names(hosts)}: {reason}", advice)


def _names(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _MOST_NAMES:,} more" if len(hosts) > _MOST_NAMES else ""
    return ", ".join(hosts[:_MOST_NAMES]) + more


def _environment(checks: Mapping[str, NodeCheck]) -> Iterator[Finding]:
    """Whether the nodes share files, import the environment, and see the data."""
    imports, data = {}, {}
    for host, check in checks.items():
        report = check.report
        torch = report.loading.torch.fault if report.loading else ""
        if reason := report.package.fault or torch:
            imports[host] = reason
        if report.loading and report.loading.data and report.loading.data.fault:
            data[host] = report.loading.data.fault
        elif check.training is not None and check.training.fault:
            data[host] = f"training: {check.training.fault}"
    unshared = {host: "reads no file of this host" for host, check in checks.items() if check.report.greeting is None}
    number = count(len(checks), "node")
    yield from _grouped("files", unshared, f"{number} share the directory", "put the campaign on a shared file system")
    advice = "check the Python environment of these nodes: scheduler.python, setup"
    yield from _grouped("import", imports, f"{number} import what trials need", advice)
    if any(check.report.loading for check in checks.values()):
        yield from _grouped("data", data, f"{number} read the data", "check data.path on these nodes")


def _network(checks: Mapping[str, NodeCheck], settings: SiteSettings) -> Iterator[Finding]:
    """Whether the nodes reach others; for trials of one node that is no fault."""
    broken = {
        host: "; ".join(f"reaches not {peer.host}: {peer.fault}" for peer in check.peers if peer.fault)
        for host, check in checks.items()
        if any(peer.fault for peer in check.peers)
    }
    scheduler = settings.scheduler
    needed = isinstance(scheduler, ClusterSettings) and scheduler.nodes > 1
    reached = {peer.host for check in checks.values() for peer in check.peers if not peer.fault}
    alone = [host for host, check in checks.items() if not check.peers and host not in reached]
    met = count(len(checks) - len(alone), "node")
    well = f"{met} met others" + (f"; at the time of {_names(alone)} no other one ran" if alone else "")
    advice = "check scheduler.interface and ports, and the firewall of the nodes"
    level = Level.FAULT if needed else Level.WARNING
    yield from _grouped("reach", broken, well if isinstance(scheduler, ClusterSettings) else "", advice, level=level)


def _disks(checks: Mapping[str, NodeCheck]) -> Iterator[Finding]:
    full = {host: f"{check.disk.path}: {check.disk.fault}" for host, check in checks.items() if check.disk.fault}
    host, least = min(checks.items(), key=lambda each: each[1].disk.free)
    well = f"at least {least.disk.free / 2**30:,.1f} GiB are free in {least.disk.path} ({host})"
    yield from _grouped("disk", full, well, "free space on the nodes' own disks: data.stage, TMPDIR")


def _speed(checks: Mapping[str, NodeCheck]) -> Iterator[Finding]:
    """Slow nodes, by training where all nodes trained, else by a matrix product."""
    trained = {
        host: check.training.steps_per_second
        for host, check in checks.items()
        if check.training is not None and check.training.steps_per_second is not None
    }
    products = {host: check.products_per_second for host, check in checks.items()}
    rates, what = (trained, "training steps/s") if trained else (products, "matrix products/s")
    if len(rates) <= _LEAST_OTHERS:
        yield ok("speed", f"{', '.join(f'{rate:,.1f} {what} on {host}' for host, rate in rates.items())}")
        return
    slow = slow_nodes(rates)
    if not slow:
        yield ok("speed", f"no node is slow: {min(rates.values()):,.1f} to {max(rates.values()):,.1f} {what}")
    for host, share in slow.items():
        message = f"{host} is slow: {rates[host]:,.1f} {what}, {share:.0%} of the median of the others"
        yield warning("speed", message, "check its load, cooling and clock rates, or leave it out: scheduler.exclude")


def _clock(checks: Mapping[str, NodeCheck]) -> Finding:
    skewed = {host: skew for host, check in checks.items() if abs(skew := check.report.clock_skew) > _CLOCK_SKEW}
    if not skewed:
        return ok("clock", f"all nodes are within {format_duration(_CLOCK_SKEW)} of the file server")
    worst = max(skewed, key=lambda host: skewed[host])
    return warning(
        "clock",
        f"{_names(list(skewed))}: off the file server's clock by up to {skewed[worst]:.1f} s ({worst})",
        "synchronise the clocks (chrony, ntp): nodes record the times of epochs",
    )


def _first_steps(checks: Mapping[str, NodeCheck]) -> Iterator[Finding]:
    """Time to the first step of training, with all nodes of the check starting about at once."""
    times = {
        host: check.training.first_step
        for host, check in checks.items()
        if check.training is not None and check.training.first_step is not None
    }
    if times:
        slowest = max(times, key=lambda host: times[host])
        median = statistics.median(times.values())
        yield ok("first step", f"after {median:.1f} s (median), {times[slowest]:.1f} s on {slowest}")
