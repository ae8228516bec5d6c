"""Campaign directory: creation, opening with its frozen settings, trial specifications, and what lies in it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

import aiperf_orch
from aiperf_orch.campaign.changed_settings import settings_in_force
from aiperf_orch.campaign.config import CampaignConfig, parse_config
from aiperf_orch.campaign.durable_files import file_exists, read_file, replace_file, set_folder_mode, write_once
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.format_versions import SPECIFICATION, explain_newer, stated_in_line
from aiperf_orch.campaign.layout import FOLDERS, Layout
from aiperf_orch.campaign.permissions import check_trusted
from aiperf_orch.campaign.public_settings import redacted_yaml
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, RETRY_SECONDS, retry_transient
from aiperf_orch.records.base import first_error
from aiperf_orch.records.plan import Plan
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.comparison import differences, different_keys
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.yaml_text import dump_yaml
from aiperf_orch.util.errors import AiperfError, NewerVersionError, RecordError, TransientError, UsageError
from aiperf_orch.util.units import now

_TAG_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz"
_HEADER: Final = """\
# The settings of this campaign, frozen when it was made. The journal holds this file's SHA-256: never edit it.
"""


@dataclass(frozen=True)
class CampaignDirectory(Layout):
    """An opened campaign directory.

    `settings_sha256` is the digest of campaign.yaml as a package shows it. `settings` are those in force: `config` has
    those that were frozen. `retry_for` is for how many seconds reading one of the many files is repeated after a
    transient error; callers that read them regularly anyway set it to 0.
    """

    config: CampaignConfig
    settings_sha256: str
    settings: SiteSettings
    retry_for: float = field(default=RETRY_SECONDS, kw_only=True)

    @classmethod
    def create(
        cls, path: Path, settings: SiteSettings, origins: Mapping[str, str], plan: Plan | None = None
    ) -> CampaignDirectory:
        """Make a campaign directory and freeze its settings.

        Args:
            path: the directory; it must not exist, or be empty, or hold what an interrupted creation left.
            settings: the settings to freeze.
            origins: for each dotted key that is not a default, where its value came from.
            plan: what was predicted of the campaign, for its journal.

        Raises:
            UsageError: when the directory holds something else, or cannot be trusted.
        """
        path = path.absolute()  # jobs start in other working directories
        if not str(path).isprintable():
            raise UsageError(f"{str(path)!r}: the path of a campaign directory must be printable UTF-8 text")
        if "%" in str(path):  # submitit replaces %j and the like by the job's id
            raise UsageError(f"{path}: the path of a campaign directory must not contain %")
        mode = 0o750 if settings.campaign.group_readable else 0o700
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir(mode=mode)
            except FileExistsError:
                if not path.is_dir():
                    raise UsageError(f"{path}: is not a directory") from None
                if not all(_may_be_replaced(item) for item in path.iterdir()):
                    raise UsageError(f"{path}: is not a campaign directory, and not empty") from None
        check_trusted(path)
        set_folder_mode(path, mode)
        with translate_os_errors(path):
            for folder in FOLDERS:
                (path / folder).mkdir(mode=mode, exist_ok=True)
        config = CampaignConfig(
            tag=secrets.choice(_TAG_LETTERS) + "".join(secrets.choice(_TAG_LETTERS + "23456789") for _ in range(4)),
            salt=secrets.token_hex(16),
            created=now(),
            versions={"aiperf-orch": aiperf_orch.__version__, "python": platform.python_version()},
            settings=settings,
            origins=dict(origins),
        )
        Layout(path).plan.unlink(missing_ok=True)
        if plan is not None:
            replace_file(Layout(path).plan, (plan.to_line() + "\n").encode())
        write_once(Layout(path).config_file, (_HEADER + dump_yaml(config.model_dump(mode="json"))).encode())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> CampaignDirectory:
        """Open a campaign directory.

        Raises:
            UsageError: when there is none, or it cannot be trusted.
            TransientError: when it cannot be read for now.
            NewerVersionError: when a newer version of aiperf-orch made it, and this one cannot read it.
            RecordError: when its frozen settings cannot be read.
        """
        path = path.absolute()
        file = Layout(path).config_file
        try:
            data = read_file(file)
        except FileNotFoundError:
            raise UsageError(f"{path}: is not a campaign directory: it has no {file.name}") from None
        except TransientError as error:
            if isinstance(error.__cause__, PermissionError):
                raise TransientError(f"{error}; does this campaign belong to another user?") from None
            raise
        except AiperfError as error:
            if isinstance(error.__cause__, NotADirectoryError):
                raise UsageError(f"{path}: is not a campaign directory: it has no {file.name}") from None
            raise RecordError(str(error)) from None
        check_trusted(path)
        config, content = parse_config(data, file)
        shown = redacted_yaml(content).encode() if config.salt else data
        settings = settings_in_force(Layout(path), config.settings)
        return cls(path, config, hashlib.sha256(shown).hexdigest(), settings)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether the path is a campaign directory.

        Raises:
            TransientError: when that cannot be determined for now.
        """

        def has_config() -> bool:
            try:
                with translate_os_errors(path, passing=(FileNotFoundError, NotADirectoryError), action="read"):
                    Layout(path).config_file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

        return retry_transient(has_config)

    def check_same_settings(self, settings: SiteSettings, origins: Mapping[str, str] | None = None) -> None:
        """Refuse to continue with settings other than those in force; values before a change are accepted, too.

        Args:
            settings: The settings of the site file and the command line.
            origins: Key -> where its value comes from, for the message.

        Raises:
            UsageError: listing the settings that differ, and how those are changed that may change.
        """
        given = self.config.as_meant(settings)
        changed = different_keys(self.config.settings, given) & different_keys(self.settings, given)
        if not changed:
            return
        listing = "\n".join(f"  {line}" for line in differences(self.settings, given, changed, origins))
        may_change = sorted(key for key in changed if key in CHANGEABLE)
        advice = "give the same settings, or another --campaign-dir"
        if may_change:
            advice += f"; `aiperf-orch set {self.path} KEY=VALUE` changes {', '.join(may_change)}"
        raise UsageError(f"{self.path}: this campaign was made with other settings:\n{listing}\n{advice}")

    def check_unchanged(self, settings_sha256: str | None) -> None:
        """Refuse a campaign.yaml that was changed.

        Args:
            settings_sha256: the digest in the journal; None before there is one.

        Raises:
            RecordError: when the digests differ.
        """
        if settings_sha256 not in (None, self.settings_sha256):
            raise RecordError(
                f"{self.config_file}: was changed after the campaign was made: its SHA-256 is not the one in "
                "the journal; restore it (nothing was changed)"
            )

    def attempt_name(self, trial: int, attempt: int) -> str:
        """Name of an attempt's job, unique for the user, at most 15 characters: `qk3f9-00042-1`."""
        return f"{self.config.tag}-{trial:05d}-{attempt}"

    def array_name(self, first: int) -> str:
        """Name of an array of jobs for first attempts, by the number of its first trial: `qk3f9-w00001`."""
        return f"{self.config.tag}-w{first:05d}"

    def allocation_name(self, number: int) -> str:
        """Name of an allocation's job, by its number from 1: `qk3f9-a00001`."""
        return f"{self.config.tag}-a{number:05d}"

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """The bytes of a specification or an events file.

        Args:
            path: the file.
            offset: first byte to read.

        Raises:
            FileNotFoundError: when there is no such file.
            TransientError: when it cannot be read for now.
        """
        return read_file(path, offset=offset, retry_for=self.retry_for)

    def stop_requested(self) -> bool:
        """Whether the controller was asked to stop; False while that cannot be determined."""
        try:
            return file_exists(self.stop_request)
        except TransientError:
            return False

    def events_on_disk(self) -> list[str]:
        """Names of all events files."""
        return _names_in(self.events_folder)

    def scripts(self) -> list[Path]:
        """Every batch script that was rendered."""
        found = (self.script_in(self.jobs_folder / name) for name in sorted(_names_in(self.jobs_folder)))
        return [script for script in found if file_exists(script, retry_for=RETRY_SECONDS)]

    def attempts_on_disk(self) -> dict[int, int]:
        """Trial -> latest attempt that wrote events."""
        latest: dict[int, int] = {}
        for name in self.events_on_disk():
            named = re.fullmatch(r"(\d+)-(\d+)\.\d+\.jsonl", name)
            if named:
                trial, attempt = int(named[1]), int(named[2])
                latest[trial] = max(attempt, latest.get(trial, 0))
        return latest

    def write_spec(self, spec: TrialSpec) -> str:
        """Write a trial's specification; returns the SHA-256 of its bytes.

        From the journal entry with that digest on, the file never changes. A file that a crash left before that entry
        was never used, and is replaced.
        """
        data = (spec.model_dump_json() + "\n").encode()
        replace_file(self.spec(spec.trial), data, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(data).hexdigest()

    def request_stop(self) -> None:
        """Ask the running controller to stop."""
        replace_file(self.stop_request, b"")


def read_spec(path: Path) -> tuple[TrialSpec, str]:
    """A trial's specification, and the SHA-256 of its file's bytes.

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
    return parse_spec(data, str(path)), hashlib.sha256(data).hexdigest()


def parse_spec(data: bytes, file: str, writer: str | None = None) -> TrialSpec:
    """A trial's specification from its bytes.

    Args:
        data: the file's bytes.
        file: the file's path or name, for messages.
        writer: the version of aiperf-orch that made the campaign; None where it is not known.

    Raises:
        NewerVersionError: when a newer version of aiperf-orch wrote it, in a way that this one does not understand.
        RecordError: naming the field that is wrong.
    """
    try:
        return TrialSpec.model_validate_json(data, strict=True)
    except ValidationError as error:
        fault = first_error(error)
        newer = explain_newer(SPECIFICATION, stated_in_line(data).get("version"), writer, fault)
        if newer:
            raise NewerVersionError(f"{file}: {newer}") from None
        raise RecordError(f"{file}: not a trial specification: {fault}") from None


def _names_in(folder: Path) -> list[str]:
    """Names of the files in a folder of a campaign."""

    def read() -> list[str]:
        with translate_os_errors(folder, action="read"):
            return os.listdir(folder)  # noqa: PTH208  only names are needed, of up to 100,000 files

    return retry_transient(read)


def _may_be_replaced(item: Path) -> bool:
    """Whether a directory's item is a remainder of an interrupted creation."""
    return item.name.startswith(".") or (item.name in FOLDERS and item.is_dir() and not any(item.iterdir()))
