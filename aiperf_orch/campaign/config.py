"""The model of campaign.yaml: everything that was decided when the campaign was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from aiperf_orch.campaign.format_versions import CAMPAIGN, explain_newer, writer_in
from aiperf_orch.records.base import Name, Record, Version, first_error
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import LocalSettings
from aiperf_orch.settings.yaml_text import parse_yaml
from aiperf_orch.util.errors import NewerVersionError, RecordError
from aiperf_orch.util.units import NumberOnly, Timestamp


class CampaignConfig(Record):
    """campaign.yaml. `origins` names, for each dotted key that is not a default, where its value came from.

    Format 2 has the settings `scheduler.retry_submit_for`, `scheduler.job_per_trial` of the local scheduler, and
    `scheduler.allocations` of the others. A file without them means what it always meant: each trial is a job. Private
    values are hashed with `salt` in a package, whose copy of campaign.yaml has none.
    """

    version: Annotated[Literal[1, 2], NumberOnly] = 2
    tag: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{4}$")]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    created: Timestamp
    versions: dict[Name, Version]
    settings: SiteSettings
    origins: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _job_per_trial(cls, content: Any) -> Any:
        """Add `job_per_trial` to the local scheduler's settings of a version that started each trial as a job."""
        match content:
            case {"settings": {"scheduler": {"kind": "local", **scheduler}, **settings}} if (
                "job_per_trial" not in scheduler
            ):
                scheduler |= {"kind": "local", "job_per_trial": True}
                return {**content, "settings": {**settings, "scheduler": scheduler}}
        return content

    def as_meant(self, settings: SiteSettings) -> SiteSettings:
        """The settings of a site file as the version meant them that made this campaign, where the default changed."""
        scheduler = settings.scheduler
        if (
            self.version > 1
            or not isinstance(scheduler, LocalSettings)
            or "job_per_trial" in scheduler.model_fields_set
        ):
            return settings
        return settings.model_copy(update={"scheduler": scheduler.model_copy(update={"job_per_trial": True})})

    @property
    def writer(self) -> str | None:
        """The version of aiperf-orch that made the campaign."""
        return self.versions.get("aiperf-orch")


def parse_config(data: bytes, file: Path) -> tuple[CampaignConfig, dict[str, Any]]:
    """The model of a campaign.yaml, and the content as it was written.

    Args:
        data: the file's bytes.
        file: the file's path, for messages.

    Raises:
        NewerVersionError: when a newer version of aiperf-orch wrote it, in a way that this one does not understand.
        RecordError: naming the key that is wrong.
        UsageError: for malformed YAML.
    """
    try:
        content = parse_yaml(data.decode(), str(file))[0]
    except UnicodeDecodeError:
        raise RecordError(f"{file}: damaged: not UTF-8 text") from None
    stated = content if isinstance(content, dict) else {}
    writer = writer_in(stated.get("versions"))
    newer = explain_newer(CAMPAIGN, stated.get("version"), writer)
    if newer:
        raise NewerVersionError(f"{file}: {newer}")
    try:
        return CampaignConfig.model_validate(content), stated
    except ValidationError as error:
        fault = first_error(error)
        newer = explain_newer(CAMPAIGN, None, writer, fault)
        if newer:
            raise NewerVersionError(f"{file}: {newer}") from None
        raise RecordError(f"{file}: {fault}: the frozen settings were edited or damaged") from None
