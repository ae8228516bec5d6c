"""Commands `data pack` and `data verify`: parse the arguments, run the command. `cli` adds the group `data`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(no_args_is_help=False)
def data() -> None:
    """Pack a data set of images into few large files, and verify them.

    A tree of ImageNet has 1.3 million files. `data pack SOURCE DEST` copies the tree SOURCE, with folders train/CLASS
    and val/CLASS, into some hundred files in the new folder DEST. Trials read either: set data.path to DEST. `data
    verify DEST` reads every byte, and proves that they hold exactly the images that were packed; with --against SOURCE,
    those of the tree.

    `pack` names every image that cannot be used. When it is interrupted or killed, the same command goes on. Run it in
    a job or on a node for data: all images are decoded once. Exit status: 0 done, 1 images or shards are faulty.
    """


@data.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def pack(source: Path, dest: Path) -> None:
    """Pack the image tree SOURCE into the new folder DEST."""
    from aiperf_orch.commands.data import pack_tree

    pack_tree(source, dest)


@data.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), metavar="SOURCE", help="Compare each image with this tree.")
def verify(dest: Path, against: Path | None) -> None:
    """Verify the packed folder DEST."""
    from aiperf_orch.commands.data import verify_packed

    verify_packed(dest, against)
