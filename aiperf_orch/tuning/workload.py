"""Networks and images of the trials that `bench-node --tune` measures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from aiperf_orch.campaign.network_limits import network_limits
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply, random_edit
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.dataset_catalogue import SYNTHETIC_IMAGES
from aiperf_orch.util.errors import UsageError

FEWEST_IMAGES: Final = 1000
MOST_IMAGES: Final = 100_000
_MOST_CLASSES: Final = 100  # of an image tree: one with all 1,000 classes must have all images of ImageNet
_SEED_OF_MORPHISMS: Final = 0
_MOST_DRAWS: Final = 100  # of edits; where no edit stays within the limits, the child has fewer of them


def can_be_cut(data: DataRecord) -> bool:
    """Whether an epoch can have fewer images than the data set."""
    return data.name in ("imagenet", "synthetic")


def cut_data(settings: SiteSettings, images: int, folder: Path) -> DataRecord:
    """The data set of the site with about as many training images as wanted, where it can be cut.

    Args:
        settings: Settings of the site.
        images: Number of training images of an epoch.
        folder: Empty folder for links to the images of a tree.

    Raises:
        UsageError: The folder of the data set cannot be read.
    """
    data = DataRecord.model_validate(settings.data).model_copy(update={"stage": None})
    if data.name == "synthetic":
        return data.model_copy(update={"classes": min(data.classes, max(2, images // SYNTHETIC_IMAGES[0]))})
    if data.name != "imagenet":
        return data
    try:
        classes = _link_images(Path(str(data.path)), folder, min(_MOST_CLASSES, data.classes), images)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}; see data.path") from None
    return data.model_copy(update={"path": str(folder), "classes": classes})


def networks(settings: SiteSettings, classes: int) -> dict[str, Graph]:
    """The seed network and a child of it by as many morphisms as a campaign's first networks have at most.

    Args:
        settings: Settings of the site.
        classes: Number of classes of the measured data.
    """
    seed = SEEDS[settings.network.seed](settings.data.input_shape, classes)
    limits, generator = network_limits(settings), np.random.default_rng(_SEED_OF_MORPHISMS)
    child, edits = seed, list[Edit]()
    for _ in range(_MOST_DRAWS):
        if len(edits) == settings.search.max_edits:
            break
        edit = random_edit(child, min(settings.search.kernel_sizes), generator)
        if edit is not None and limits.admit(changed := apply(child, edit)):
            child = changed
            edits.append(edit)
    return {"seed": seed, "morphed": child}


def _link_images(root: Path, folder: Path, classes: int, images: int) -> int:
    """Make a tree of links to some images of each of the first classes; return the number of classes."""
    names = sorted(item.name for item in _visible(root / "train") if item.is_dir())[:classes]
    wanted = {"train": -(-images // max(1, len(names))), "val": -(-images // (10 * max(1, len(names))))}
    for split, number in wanted.items():
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for image in islice(_visible(root / split / name), number):
                (folder / split / name / image.name).symlink_to(image.absolute())
    return len(names)


def _visible(folder: Path) -> Iterator[Path]:
    return (item for item in folder.iterdir() if item.name[0] != ".")
