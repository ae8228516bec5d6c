"""Models of a site file: every setting with its default, unit and bounds.

The section `scheduler` stands in `schedulers`, the loading of site files in `loading`. In the models all settings of a
section are at one level; in a site file the `Advanced` ones belong to its part `advanced`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from aiperf_orch.settings.base import (
    ADVANCED,
    PRIVATE,
    AbsolutePath,
    Advanced,
    Count,
    CsvText,
    Duration,
    Fraction,
    Section,
    Settings,
    Unit,
    advanced_keys,
    matching,
)
from aiperf_orch.settings.schedulers import (
    AgentsSettings,
    LocalSettings,
    PbsSettings,
    SchedulerSettings,
    SlurmSettings,
)
from aiperf_orch.util import dataset_catalogue
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES, DatasetName
from aiperf_orch.util.units import NumberOnly

MAX_CONCURRENCY: Final = 100_000
"""Number of trials that may run at once."""

_SYSTEM_ID: Final = matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}",
    "a short name: up to 80 letters, digits and . _ - that begin with a letter or a digit",
)


class SystemSettings(Section):
    """Description of the measured system; its keys stand in result.csv and in a package's system.json.

    All but `id`, `name` and `accelerator_peak_ops` are named as in the system description of MLPerf (MLCommons). A
    committee sees the section as it is.
    """

    name: CsvText = Field("unnamed system", description="name of the system, for result.csv, the report and rankings")
    submitter: CsvText = Field("unnamed submitter", description="who submits the result, for result.csv and rankings")
    contact: CsvText | None = Field(None, description="whom a committee asks; also the default sender of `mail`")
    id: Advanced[Annotated[str, _SYSTEM_ID] | None] = Field(None, description="short name of the system")
    division: Advanced[Literal["closed", "open"] | None] = Field(
        None, description="`rank` ranks the two divisions separately; without it the division is closed"
    )
    status: Advanced[CsvText | None] = Field(None, description="availability of the system, as in MLPerf")
    number_of_nodes: Count | None = Field(
        None, description="nodes of the measured system; `rank` and `scaling` compute the score per node from it"
    )
    host_processor_model_name: Advanced[CsvText | None] = Field(
        None, description="model of the host processors, as in MLPerf"
    )
    host_processors_per_node: Advanced[Count | None] = Field(
        None, description="host processors of each node, as in MLPerf"
    )
    host_processor_core_count: Advanced[Count | None] = Field(
        None, description="cores of one host processor, as in MLPerf"
    )
    host_memory_capacity: Advanced[CsvText | None] = Field(
        None, description="memory of each node, with its unit, as in MLPerf"
    )
    host_networking: Advanced[CsvText | None] = Field(None, description="network between the nodes, as in MLPerf")
    accelerators_per_node: Count | None = Field(
        None, description="accelerators of each node; `rank` and `scaling` compute the score per accelerator from it"
    )
    accelerator_model_name: CsvText | None = Field(None, description="model of the accelerators")
    accelerator_memory_capacity: Advanced[CsvText | None] = Field(
        None, description="memory of one accelerator, with its unit, as in MLPerf"
    )
    accelerator_interconnect: Advanced[CsvText | None] = Field(
        None, description="connection between the accelerators of a node, as in MLPerf"
    )
    accelerator_peak_ops: Advanced[Annotated[float, Field(gt=0, le=1e21), Unit("operations per second")] | None] = (
        Field(
            None,
            description="peak of one accelerator in operations per second, in the precision of the training: `verify` "
            "compares speeds with it, and `rank` states the share of it",
        )
    )
    operating_system: Advanced[CsvText | None] = Field(None, description="operating system of the nodes, as in MLPerf")
    other_software_stack: Advanced[CsvText | None] = Field(
        None, description="drivers, libraries and compilers, as in MLPerf"
    )
    hw_notes: Advanced[CsvText | None] = Field(None, description="notes on the hardware, as in MLPerf")


class CampaignSettings(Section):
    """Duration, concurrency, seed and failure policy."""

    duration: Duration = Field(12 * 3600.0, description="duration of the campaign, from the begin of its first trial")
    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = Field(
        2, description="trials that run at the same time"
    )
    max_trials: Count | None = Field(
        None, description="number of trials after which the campaign ends; by default only the duration ends it"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="seed of the search and of the trials")
    max_attempts: Advanced[Annotated[int, Field(ge=1, le=9)]] = Field(
        3, description="attempts of a trial, the first one included"
    )
    pause_after_failures: Advanced[Count] = Field(
        10, description="number of consecutive failures with the same reason that pauses the campaign"
    )
    group_readable: Advanced[bool] = Field(False, description="give the campaign directory mode 0750 instead of 0700")
    keep_weights: Advanced[Count] = Field(
        64, description="number of best trials whose weights are kept for inheritance"
    )


class DataSettings(Section):
    """The data set on which trials train and validate."""

    name: DatasetName = Field("digits", description="the data set")
    path: AbsolutePath | None = Field(
        None, description="folder of the data set, as the nodes see it", json_schema_extra=PRIVATE
    )
    image_size: Annotated[int, Field(ge=8, le=4096), Unit("pixels")] = Field(
        224, description="side of the images of imagenet and synthetic, in pixels; only 224 is ranked"
    )
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        1000, description="number of classes of imagenet and synthetic"
    )
    loaders: Advanced[Annotated[int, Field(ge=0, le=1024)] | None] = Field(
        None, description="processes that decode images for one accelerator; by default its share of the cores"
    )
    stage: AbsolutePath | None = Field(
        None, description="folder on each node's own disk for a copy of the data", json_schema_extra=PRIVATE
    )
    stage_readers: Advanced[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        16, description="maximum number of nodes that copy packed data to their own disks at the same time"
    )
    max_broken: Advanced[Annotated[int, Field(ge=0)]] = Field(
        10, description="maximum number of unreadable training images of an epoch, over all workers, that are skipped"
    )

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Number of training and of validation images; None for a data set that may have any number."""
        return DATASET_SIZES.get((self.name, self.outputs))

    @property
    def needs_path(self) -> bool:
        """Whether the data set lies in a folder that the settings must name."""
        return dataset_catalogue.needs_path(self.name)

    def without_paths(self) -> DataSettings:
        """The settings without private values, as a specification has them, which leaves the machine."""
        return self.model_copy(update={"path": None, "stage": None})

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image as networks read it."""
        return dataset_catalogue.image_shape(self.name, self.image_size)

    @property
    def outputs(self) -> int:
        """Number of classes that a network distinguishes."""
        return dataset_catalogue.class_count(self.name, self.classes)


class NetworkSettings(Section):
    """The network with which the search begins, and the limits of those that it may propose."""

    seed: Literal["small_residual", "resnet50"] = Field(
        "small_residual", description="network with which the search begins"
    )
    max_layers: Advanced[Count] = Field(300, description="maximum number of layers of a proposal")
    max_parameters: Advanced[Count | None] = Field(None, description="maximum number of parameters of a proposal")
    max_operations: Advanced[Annotated[int, Field(ge=1)] | None] = Field(
        None, description="maximum number of operations to train one image, forward and backward"
    )
    max_memory: Annotated[float, Field(gt=0, le=10**6), Unit("GiB")] | None = Field(
        None,
        description="memory of one accelerator that training may take, in GiB, by an estimate of PyTorch's tensors: "
        "leave room for its context and workspaces",
    )


class SearchSettings(Section):
    """Architecture search and hyperparameter search (Ren et al. 2021; Jin et al. 2019)."""

    kernel_sizes: Advanced[Annotated[list[Annotated[Literal[1, 3, 5, 7], NumberOnly]], Field(min_length=1)]] = Field(
        [3, 5, 7], description="kernel sizes of added convolutions"
    )
    max_dropout: Advanced[Fraction] = Field(0.2, description="maximum dropout rate")
    batch_size: Annotated[list[Annotated[int, Field(ge=2, le=10**9)]], Field(min_length=2, max_length=2)] = Field(
        [32, 128], description="smallest and largest batch of one accelerator"
    )
    first_batch_size: Advanced[Count | None] = Field(
        None, description="batch of the first hyperparameters; by default the largest"
    )
    tpe_from_round: Advanced[Annotated[int, Field(ge=0)]] = Field(
        3,
        description="first round, counted from 0, in which TPE selects hyperparameters; before it a child has its "
        "parent's",
    )
    max_edits: Advanced[Annotated[int, Field(ge=1, le=20)]] = Field(
        3, description="edits from the seed network to a child before any trial has ended"
    )
    neighbours: Advanced[Count] = Field(
        8, description="random children of each network that annealing takes from its queue"
    )
    beta: Advanced[Annotated[float, Field(gt=0)]] = Field(
        0.5, description="beta of the lower confidence bound mean - beta x std; 2.576 in the paper"
    )
    forecast_epoch: Advanced[Count] = Field(
        90,
        description="epoch for which errors of trials that stopped early are forecast; only the search uses forecasts",
    )
    candidates: Advanced[Count] = Field(32, description="number of networks that annealing evaluates for one proposal")

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

    epoch_seconds: Annotated[float, Field(ge=0, le=3600), Unit("seconds")] = Field(
        0.05, description="duration of an epoch of the seed network; 0 does not wait at all"
    )
    failure_rate: Fraction = Field(0.0, description="share of the attempts that fail")
    failure_reason: Literal["TRAINING_DIVERGED", "TRIAL_ERROR", "BAD_DATA", "LOST"] = Field(
        "TRIAL_ERROR", description="end reason of the attempts that fail"
    )


class TrainingSettings(Section):
    """The training recipe; the defaults are the paper's."""

    trainer: Literal["torch", "simulated"] = Field(
        "torch",
        description="simulated trains nothing: errors come from a seeded model; such a campaign is never rankable, and "
        "its output, tables and records are marked *simulated*",
    )
    warmup_epochs: list[Count] = Field([15, 30, 45], description="epochs of the first rounds")
    epochs: Count = Field(60, description="epochs of all later rounds; also the horizon of the learning rate")
    patience: Advanced[Count] = Field(6, description="epochs without improvement before a trial of round 0 stops")
    patience_per_round: Advanced[Annotated[int, Field(ge=0)]] = Field(
        2, description="epochs that each later round adds to the patience"
    )
    max_patience: Advanced[Count] = Field(20, description="maximum of the patience, in epochs")
    min_delta: Advanced[Fraction] = Field(
        0.001, description="decrease of the error, as a fraction, that counts as an improvement"
    )
    learning_rate: Annotated[float, Field(gt=0, le=100)] = Field(0.1, description="initial learning rate")
    final_learning_rate: Advanced[Annotated[float, Field(ge=0, le=100)]] = Field(
        0.0, description="learning rate at the horizon `epochs`; it decreases linearly"
    )
    momentum: Advanced[Fraction] = Field(0.9, description="momentum of SGD")
    weight_decay: Advanced[Fraction] = Field(1e-4, description="weight decay of SGD")
    label_smoothing: Advanced[Fraction] = Field(0.1, description="label smoothing of the loss")
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto",
        description="auto is bf16 if the device has instructions for it (on a CPU only for networks that are large "
        "enough to gain by it), else fp16 on tensor cores of NVIDIA, else fp32; the events state which one "
        "it was",
    )
    compile: Advanced[bool] = Field(
        False,
        description="compile the computation of full batches by torch.compile, within the first epoch, whose time "
        "counts; if that fails, training continues without it, with a warning",
    )
    hang_after: Advanced[Duration] = Field(
        600.0, description="time without a finished step after which a trial is hung"
    )
    inherit_weights: Advanced[bool] = Field(True, description="initial weights of a child come from its parent")
    simulated: Advanced[SimulatedSettings] = Field(SimulatedSettings(), description="settings of the simulated trainer")

    def epochs_of_round(self, number: int) -> int:
        """Maximum number of epochs of a trial of this round, numbered from 0."""
        return self.warmup_epochs[number] if number < len(self.warmup_epochs) else self.epochs

    def patience_of_round(self, number: int) -> int:
        """Number of epochs without improvement after which a trial of this round, numbered from 0, stops."""
        return min(self.patience + self.patience_per_round * number, self.max_patience)


def _kind(section: Any) -> str | None:
    """The scheduler that a section is for; without `kind` the local one."""
    kind = section.get("kind", "local") if isinstance(section, dict) else getattr(section, "kind", "local")
    return kind if isinstance(kind, str) else None


SCHEDULERS: dict[str, type[SchedulerSettings]] = {
    "local": LocalSettings,
    "slurm": SlurmSettings,
    "pbs": PbsSettings,
    "agents": AgentsSettings,
}
AnyScheduler = Annotated[
    Annotated[LocalSettings, Tag("local")]
    | Annotated[SlurmSettings, Tag("slurm")]
    | Annotated[PbsSettings, Tag("pbs")]
    | Annotated[AgentsSettings, Tag("agents")],
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
                f"data.path: {self.data.name} needs its folder, as the nodes see it; "
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


def as_site_file(settings: SiteSettings) -> dict[str, dict[str, Any]]:
    """Every setting as a site file has it: JSON values by section, the advanced ones in its part `advanced`."""
    document: dict[str, dict[str, Any]] = {}
    for section, keys in settings.model_dump(mode="json").items():
        advanced = advanced_keys(type(getattr(settings, section)))
        document[section] = {key: value for key, value in keys.items() if key not in advanced}
        if advanced:
            document[section][ADVANCED] = {key: keys[key] for key in advanced}
    return document
