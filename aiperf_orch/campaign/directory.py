"""A campaign's directory: where each file lies, the frozen settings, trial specifications."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

import aiperf_orch
from aiperf_orch.campaign.durable_files import (
    file_exists,
    read_file,
    replace_file,
    set_folder_mode,
    translate_os_errors,
    write_once,
)
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.ownership import check_trusted
from aiperf_orch.campaign.public_settings import redacted_yaml
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, RETRY_SECONDS, retry_transient
from aiperf_orch.records.base import Name, Record, Version, first_error
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.loading import differences, dump_yaml, parse_yaml
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError, RecordError, TransientError, UsageError
from aiperf_orch.util.units import Timestamp, now

_FOLDERS: Final = ("trials", "events", "jobs", "weights")
_TAG_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz"
_HEADER: Final = """\
# The settings of this campaign, frozen when it was made. The journal holds this file's SHA-256: never edit it.
"""


class CampaignConfig(Record):
    """campaign.yaml: everything that was decided when the campaign was made, and where each setting came from.

    Only a package's copy has no `salt`: private values are hashed with it there.
    """

    version: Literal[1] = 1
    tag: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{4}$")]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    created: Timestamp
    versions: dict[Name, Version]
    settings: SiteSettings
    origins: dict[str, str]


@dataclass(frozen=True)
class CampaignDirectory(Layout):
    """A campaign's directory that was opened. `settings_sha256` is of campaign.yaml as a package shows it.

    `retry_for` is for how many seconds reading its many files is tried again; who looks at them often anyway takes 0.
    """

    config: CampaignConfig
    settings_sha256: str
    retry_for: float = field(default=RETRY_SECONDS, kw_only=True)

    @classmethod
    def create(cls, path: Path, settings: SiteSettings, origins: Mapping[str, str]) -> CampaignDirectory:
        """Make a campaign's directory and freeze its settings.

        Raises:
            UsageError: when the directory holds something else, or cannot be trusted.
        """
        path = path.absolute()  # jobs start elsewhere
        if not str(path).isprintable():
            raise UsageError(f"{str(path)!r}: the path of a campaign directory must be printable UTF-8 text")
        if "%" in str(path):  # submitit takes %j and its like for the job's id
            raise UsageError(f"{path}: the path of a campaign directory must not contain %")
        mode = 0o750 if settings.campaign.group_readable else 0o700
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir(mode=mode)
            except FileExistsError:
                if not path.is_dir():
                    raise UsageError(f"{path}: is not a directory") from None
                if not all(_is_ours(item) for item in path.iterdir()):
                    raise UsageError(f"{path}: is not a campaign directory, and not empty") from None
        check_trusted(path)
        set_folder_mode(path, mode)
        with translate_os_errors(path):
            for folder in _FOLDERS:
                (path / folder).mkdir(mode=mode, exist_ok=True)
        config = CampaignConfig(
            tag=secrets.choice(_TAG_LETTERS) + "".join(secrets.choice(_TAG_LETTERS + "23456789") for _ in range(4)),
            salt=secrets.token_hex(16),
            created=now(),
            versions={"aiperf-orch": aiperf_orch.__version__, "python": platform.python_version()},
            settings=settings,
            origins=dict(origins),
        )
        write_once(Layout(path).config_file, (_HEADER + dump_yaml(config.model_dump(mode="json"))).encode())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> CampaignDirectory:
        """Open a campaign's directory.

        Raises:
            UsageError: when there is none, or it cannot be trusted.
            TransientError: when it cannot be read for now.
            RecordError: when its frozen settings cannot be read.
        """
        path = path.absolute()
        file = Layout(path).config_file
        try:
            data = read_file(file)
        except FileNotFoundError:
            raise UsageError(f"{path}: is not a campaign directory: it has no campaign.yaml") from None
        except TransientError as error:
            if isinstance(error.__cause__, PermissionError):
                raise TransientError(f"{error}; does this campaign belong to somebody else?") from None
            raise
        except AiperfError as error:
            if isinstance(error.__cause__, NotADirectoryError):
                raise UsageError(f"{path}: is not a campaign directory: it has no campaign.yaml") from None
            raise RecordError(str(error)) from None
        check_trusted(path)
        try:
            content = parse_yaml(data.decode(), str(file))[0]
            config = CampaignConfig.model_validate(content)
        except UnicodeDecodeError:
            raise RecordError(f"{file}: damaged: not UTF-8 text") from None
        except ValidationError as error:
            fault = first_error(error)
            raise RecordError(f"{file}: {fault}: the frozen settings were edited or damaged") from None
        shown = redacted_yaml(content).encode() if config.salt else data
        return cls(path, config, hashlib.sha256(shown).hexdigest())

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether there is a campaign here already.

        Raises:
            TransientError: when that cannot be told for now.
        """

        def look() -> bool:
            try:
                with translate_os_errors(path, passing=(FileNotFoundError, NotADirectoryError), action="read"):
                    Layout(path).config_file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

        return retry_transient(look)

    def check_same_settings(self, settings: SiteSettings) -> None:
        """Refuse to go on with other settings than those that were frozen; UsageError lists what differs."""
        changed = differences(self.config.settings, settings)
        if changed:
            listing = "\n".join(f"  {line}" for line in changed)
            raise UsageError(
                f"{self.path}: this campaign was made by other settings:\n{listing}\n"
                "give the same settings, or another --campaign-dir"
            )

    def check_unchanged(self, settings_sha256: str | None) -> None:
        """Refuse a campaign.yaml whose SHA-256 is not the journal's (None before there is one) with a RecordError."""
        if settings_sha256 not in (None, self.settings_sha256):
            raise RecordError(
                f"{self.config_file}: was changed after the campaign was made: its SHA-256 is not the one in "
                "the journal; restore it (nothing was changed)"
            )

    @property
    def settings(self) -> SiteSettings:
        """The frozen settings."""
        return self.config.settings

    def attempt_name(self, trial: int, attempt: int) -> str:
        """The job's name, unique for the user, at most 15 characters: `qk3f9-00042-1`."""
        return f"{self.config.tag}-{trial:05d}-{attempt}"

    def array_name(self, first: int) -> str:
        """The name of an array of jobs, the first attempts of trials from this one on: `qk3f9-w00001`."""
        return f"{self.config.tag}-w{first:05d}"

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """The bytes of a specification or of events, from an offset on; FileNotFoundError where there are none."""
        return read_file(path, offset=offset, retry_for=self.retry_for)

    def stop_requested(self) -> bool:
        """Whether the controller was asked to stop; not while that cannot be told."""
        try:
            return file_exists(self.stop_request)
        except TransientError:
            return False

    def events_on_disk(self) -> list[str]:
        """The names of all events files."""
        return _names_in(self.path / "events")

    def scripts(self) -> list[Path]:
        """Every batch script that was rendered."""
        jobs = self.path / "jobs"
        found = (jobs / name / "job.sh" for name in sorted(_names_in(jobs)))
        return [script for script in found if file_exists(script, retry_for=RETRY_SECONDS)]

    def attempts_on_disk(self) -> dict[int, int]:
        """For each trial that events were written for, its latest attempt."""
        latest: dict[int, int] = {}
        for name in self.events_on_disk():
            named = re.fullmatch(r"(\d+)-(\d+)\.\d+\.jsonl", name)
            if named:
                trial, attempt = int(named[1]), int(named[2])
                latest[trial] = max(attempt, latest.get(trial, 0))
        return latest

    def write_spec(self, spec: TrialSpec) -> str:
        """Write a trial's specification; returns the SHA-256 of its bytes.

        The journal holds that hash, and from then on the file never changes. One that a crash left here before the
        journal knew of it was never used, and is replaced.
        """
        data = (spec.model_dump_json() + "\n").encode()
        replace_file(self.spec(spec.trial), data, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(data).hexdigest()

    def request_stop(self) -> None:
        """Ask the live controller to stop."""
        replace_file(self.stop_request, b"")


def _names_in(folder: Path) -> list[str]:
    """The names of what is in a folder of a campaign."""

    def read() -> list[str]:
        with translate_os_errors(folder, action="read"):
            return os.listdir(folder)  # noqa: PTH208  names are all that is wanted of 100,000 files

    return retry_transient(read)


def _is_ours(item: Path) -> bool:
    """Whether it is what a creation that was interrupted left behind."""
    return item.name.startswith(".") or (item.name in _FOLDERS and item.is_dir() and not any(item.iterdir()))


def read_spec(path: Path) -> tuple[TrialSpec, str]:
    """A trial's specification from its file, and the SHA-256 of its bytes.

    Raises:
        UsageError: when there is no such file.
        TransientError: when it cannot be read for now.
        RecordError: naming the field that is wrong.
    """
    try:
        data = read_file(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except TransientError:
        raise
    except AiperfError as error:
        raise UsageError(str(error)) from None
    try:
        return TrialSpec.model_validate_json(data), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        raise RecordError(f"{path}: not a trial specification: {first_error(error)}") from None
