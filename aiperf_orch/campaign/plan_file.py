"""Files with the plan of a campaign: the output of `plan`, and the copy that waits in a directory for the journal."""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.format_versions import PLAN
from aiperf_orch.campaign.given_file import read_given
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.plan import Plan
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import exact_duration


def read_plan(path: Path) -> Plan:
    """Read the output of `plan`.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    advice = f"write one: aiperf-orch plan SITE ... --output {path.name}"
    return read_given(path, Plan, refusal="is no plan", advice=advice, form=PLAN, check=_check_quantities)


def _check_quantities(plan: Plan) -> None:
    """Refuse numbers that `plan` does not write.

    Raises:
        ValueError: naming the quantity.
    """
    for name, quantity in plan.quantities:
        numbers = [each for each in (quantity.low, quantity.expected, quantity.high) if each is not None]
        if (quantity.expected is None) is (quantity.missing is None):
            raise ValueError(f"quantities.{name}: has to state either what is expected or why it is missing")
        if (quantity.low is None) is not (quantity.high is None) or numbers != sorted(numbers):
            raise ValueError(f"quantities.{name}: its interval does not hold what is expected")
    if (plan.quantities.error.high or plan.quantities.error.expected or 0.0) > 1:
        raise ValueError("quantities.error: is a fraction")


def read_plan_of(layout: Layout) -> Plan | None:
    """The plan that a campaign was made with, before its journal has it; None without one."""
    return read_plan(layout.plan) if layout.plan.exists() else None


def check_plan(path: Path, plan: Plan, settings: SiteSettings) -> None:
    """Refuse a plan of another campaign.

    Raises:
        UsageError: naming what differs.
    """
    campaign = settings.campaign
    if plan.slots != campaign.concurrency:
        raise UsageError(
            f"{path}: is for {plan.slots} trials at once, and campaign.concurrency is {campaign.concurrency}: "
            f"give --concurrency {plan.slots}, or another plan"
        )
    if plan.duration != campaign.duration:
        raise UsageError(
            f"{path}: is for {exact_duration(plan.duration)}, and campaign.duration is "
            f"{exact_duration(campaign.duration)}: give --duration {exact_duration(plan.duration)}, or another plan"
        )
