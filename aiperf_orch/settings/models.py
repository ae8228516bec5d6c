"""Settings: what a site file may say, with every default, unit and bound.

The models are the format's definition; those of the scheduler's section stand in `config_schedulers`. Reading files, the
command line's `--set` and telling a person what is wrong with them is `config_loading`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from aiperf_orch.settings.base import PRIVATE, Count, CsvText, Duration, Fraction, Place, Settings, form
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SchedulerSettings, SlurmSettings
from aiperf_orch.util import dataset_catalogue
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES, DatasetName

_SYSTEM_ID: Final = form(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}",
    "a short name: up to 80 letters, digits and . _ - that begin with a letter or a digit",
)


class SystemSettings(Settings):
    """Who measures what; these stand in result.csv and a package's system.json.

    All but `id`, `name` and `accelerator_peak_ops` are named as in the system description of MLPerf (MLCommons).
    """

    name: CsvText = "unnamed system"
    submitter: CsvText = "unnamed submitter"
    contact: CsvText | None = None
    id: Annotated[str, _SYSTEM_ID] | None = None
    division: Literal["closed", "open"] | None = None
    status: CsvText | None = None
    number_of_nodes: Count | None = None
    host_processor_model_name: CsvText | None = None
    host_processors_per_node: Count | None = None
    host_processor_core_count: Count | None = None
    host_memory_capacity: CsvText | None = None
    host_networking: CsvText | None = None
    accelerators_per_node: Count | None = None
    accelerator_model_name: CsvText | None = None
    accelerator_memory_capacity: CsvText | None = None
    accelerator_interconnect: CsvText | None = None
    accelerator_peak_ops: Annotated[float, Field(gt=0, le=1e21, strict=False)] | None = Field(
        None, description="operations per second of one accelerator at best, in the precision that is trained in"
    )
    operating_system: CsvText | None = None
    other_software_stack: CsvText | None = None
    hw_notes: CsvText | None = None


class CampaignSettings(Settings):
    """How long, how many at once, and from which seed."""

    duration: Duration = 12 * 3600.0
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 2
    max_trials: Count | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_attempts: Annotated[int, Field(ge=1, le=9)] = 3
    pause_after_failures: Count = Field(10, description="so many like failures in a row pause the campaign")
    group_readable: bool = Field(False, description="the campaign directory gets mode 0750 instead of 0700")
    keep_weights: Count = Field(64, description="weights of so many best trials are kept for inheritance")


class DataSettings(Settings):
    """The data set that trials train and validate on."""

    name: DatasetName = "digits"
    path: Place | None = Field(
        None, description="folder of the data set, as the nodes see it", json_schema_extra=PRIVATE
    )
    image_size: Annotated[int, Field(ge=8, le=4096)] = Field(
        224, description="side of imagenet's and synthetic's images"
    )
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = Field(1000, description="of imagenet and synthetic")
    loaders: Annotated[int, Field(ge=0, le=1024)] | None = Field(
        None, description="processes that decode images for one accelerator; by default its share of the cores"
    )
    stage: Place | None = Field(
        None, description="folder on each node's own disk that keeps a copy of the data", json_schema_extra=PRIVATE
    )
    max_broken: Annotated[int, Field(ge=0)] = Field(
        10,
        description="so many unreadable training images are skipped in an epoch, by all workers; one more ends the trial",
    )

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Images that train and validate; None of a data set that may have any number."""
        return DATASET_SIZES.get((self.name, self.outputs))

    @property
    def needs_path(self) -> bool:
        """Whether the data set lies in a folder that the settings must name."""
        return dataset_catalogue.needs_path(self.name)

    def without_paths(self) -> DataSettings:
        """The settings without what is private: as a specification, which leaves the machine, has them."""
        return self.model_copy(update={"path": None, "stage": None})

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image as networks read it."""
        return dataset_catalogue.image_shape(self.name, self.image_size)

    @property
    def outputs(self) -> int:
        """How many classes a network tells apart."""
        return dataset_catalogue.class_count(self.name, self.classes)


class NetworkSettings(Settings):
    """The network that the search begins with, and the bounds of those it may propose."""

    seed: Literal["small_residual", "resnet50"] = "small_residual"
    max_layers: Count = 300
    max_parameters: Count | None = None
    max_operations: Annotated[int, Field(ge=1)] | None = Field(
        None, description="operations to train one image, forward and backward"
    )
    max_memory: Annotated[float, Field(gt=0, le=10**6, strict=False)] | None = Field(
        None, description="GiB of one accelerator that training may take, by an estimate of what PyTorch's tensors take"
    )


class SearchSettings(Settings):
    """Architecture search and hyperparameter search (Ren et al. 2021; Jin et al. 2019)."""

    kernel_sizes: Annotated[list[Literal[1, 3, 5, 7]], Field(min_length=1)] = [3, 5, 7]
    max_dropout: Fraction = 0.2
    batch_size: Annotated[list[Annotated[int, Field(ge=2, le=10**9)]], Field(min_length=2, max_length=2)] = Field(
        [32, 128], description="smallest and largest batch of one accelerator"
    )
    first_batch_size: Count | None = Field(None, description="of the first point; by default the largest")
    tpe_from_round: Annotated[int, Field(ge=0)] = 3
    max_edits: Annotated[int, Field(ge=1, le=20)] = Field(
        3, description="edits from the seed to a child before any trial has ended"
    )
    neighbours: Count = 8
    beta: Annotated[float, Field(gt=0, strict=False)] = Field(
        0.5, description="standard deviations below the mean that the search hopes for; the paper: 2.576"
    )
    forecast_epoch: Count = 90
    candidates: Count = Field(32, description="networks that annealing weighs for one proposal")

    @model_validator(mode="after")
    def _ordered(self) -> SearchSettings:
        low, high = self.batch_size
        if low > high:
            raise ValueError(
                f"batch_size: the smallest, {low}, is above the largest, {high}; for example batch_size: [32, 128]"
            )
        if self.first_batch_size is not None and not low <= self.first_batch_size <= high:
            raise ValueError(
                f"first_batch_size: {self.first_batch_size} is not within batch_size [{low}, {high}]; "
                f"for example first_batch_size: {high}"
            )
        return self


class SimulatedSettings(Settings):
    """The simulated trainer: learning curves from a seeded model instead of training."""

    epoch_seconds: Annotated[float, Field(ge=0, le=3600, strict=False)] = Field(
        0.05, description="what an epoch of the seed network takes; 0 does not wait at all"
    )
    failure_rate: Fraction = Field(0.0, description="share of the attempts that fail")
    failure_reason: Literal["TRAINING_DIVERGED", "TRIAL_ERROR", "BAD_DATA", "LOST"] = "TRIAL_ERROR"


class TrainingSettings(Settings):
    """The training recipe; the defaults are the paper's."""

    trainer: Literal["torch", "simulated"] = "torch"
    warmup_epochs: list[Count] = Field([15, 30, 45], description="epochs of the first rounds")
    epochs: Count = Field(60, description="epochs of all later rounds; also the learning rate's horizon")
    patience: Count = Field(6, description="epochs without improvement that round 0 waits")
    patience_per_round: Annotated[int, Field(ge=0)] = 2
    max_patience: Count = 20
    min_delta: Fraction = 0.001
    learning_rate: Annotated[float, Field(gt=0, le=100, strict=False)] = 0.1
    final_learning_rate: Annotated[float, Field(ge=0, le=100, strict=False)] = 0.0
    momentum: Fraction = 0.9
    weight_decay: Fraction = 1e-4
    label_smoothing: Fraction = 0.1
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto", description="auto picks what is fast on the node, never below 16 bits"
    )
    compile: bool = Field(False, description="by torch.compile; what it takes counts as training time")
    hang_after: Duration = Field(600.0, description="a trial without a finished step for so long is hung")
    inherit_weights: bool = True
    simulated: SimulatedSettings = SimulatedSettings()

    def epochs_of_round(self, number: int) -> int:
        """How many epochs a trial of this round (from 0) trains at most."""
        return self.warmup_epochs[number] if number < len(self.warmup_epochs) else self.epochs

    def patience_of_round(self, number: int) -> int:
        """After how many epochs without improvement a trial of this round (from 0) stops."""
        return min(self.patience + self.patience_per_round * number, self.max_patience)


def _kind(section: Any) -> str | None:
    """Which scheduler a section is of; without `kind` it is the local one."""
    kind = section.get("kind", "local") if isinstance(section, dict) else getattr(section, "kind", "local")
    return kind if isinstance(kind, str) else None


SCHEDULERS: dict[str, type[SchedulerSettings]] = {"local": LocalSettings, "slurm": SlurmSettings, "pbs": PbsSettings}
AnyScheduler = Annotated[
    Annotated[LocalSettings, Tag("local")]
    | Annotated[SlurmSettings, Tag("slurm")]
    | Annotated[PbsSettings, Tag("pbs")],
    Discriminator(_kind),
]


class SiteSettings(Settings):
    """A whole site file."""

    system: SystemSettings = SystemSettings()
    scheduler: AnyScheduler = LocalSettings()
    campaign: CampaignSettings = CampaignSettings()
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    search: SearchSettings = SearchSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _has_data(self) -> SiteSettings:
        if self.data.needs_path and self.data.path is None and not self.simulated:
            raise ValueError(
                f"data.path: {self.data.name} needs the folder that it lies in, as the nodes see it; "
                f"for example path: /shared/{self.data.name}"
            )
        return self

    @property
    def simulated(self) -> bool:
        """Whether trials are simulated, which makes every number of the campaign a simulated one."""
        return self.training.trainer == "simulated"


def private_keys() -> list[tuple[str, str]]:
    """Section and key of every private setting."""
    models = {section: [field.annotation] for section, field in SiteSettings.model_fields.items()}
    models["scheduler"] = list(SCHEDULERS.values())
    keys = {
        (section, key): None
        for section, kinds in models.items()
        for model in kinds
        if model is not None
        for key, setting in model.model_fields.items()
        if setting.json_schema_extra == PRIVATE
    }
    return list(keys)
