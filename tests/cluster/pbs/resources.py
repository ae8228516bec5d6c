"""Resources that a job requests (`-l select=...`, `nodes=...` or `ncpus=...`), with the checks of the server."""

from pbs.errors import CommandError
from pbs.formats import duration, in_kilobytes, parse_duration, parse_size

_COUNTS = frozenset({"ncpus", "ngpus", "mpiprocs", "ompthreads", "nodect"})
_SIZES = frozenset({"mem", "vmem", "pmem", "pvmem", "file"})
_TEXTS = frozenset({"host", "vnode", "arch", "software"})
_TIMES = frozenset({"walltime", "cput", "pcput"})
_IN_SUMS = ("mem", "mpiprocs", "ncpus", "ngpus")  # resources whose sums over the chunks are in Resource_List
_ARRANGEMENTS = frozenset({"free", "pack", "scatter", "vscatter"})
_SHARING = frozenset({"excl", "exclhost", "shared"})


def _illegal(name=""):
    return CommandError(f"qsub: Illegal attribute or resource value{' ' + name if name else ''}\n", 166)


def parse_request(wanted):
    """Convert the values of `-l` options, by name, to (Resource_List, chunks, place).

    A chunk is a dict of requested resources: counts as int, memory in kb, `host` as text; `place` is from `-l place`.
    """
    wanted = dict(wanted)
    for name in wanted:
        if name not in _COUNTS | _SIZES | _TEXTS | _TIMES | {"select", "place", "nodes"}:
            raise CommandError(f"qsub: Unknown resource Resource_List.{name}\n", 187)
    if "select" in wanted or "place" in wanted:
        if "nodes" in wanted:
            raise CommandError("qsub: Cannot be used with select or place: nodes\n", 6)
        for name in wanted:
            if name in _COUNTS | _SIZES | _TEXTS:
                raise CommandError(
                    f'qsub: "-lresource=" cannot be used with "select" or "place", resource is: {name}\n', 5
                )
    for name, value in wanted.items():
        _check(f"Resource_List.{name}", name, value)
    listed = {name: duration(parse_duration(wanted[name])) for name in _TIMES & wanted.keys()}
    if "nodes" in wanted:
        select, place = _select_of_nodes(wanted["nodes"]), "scatter"
        listed["nodes"] = wanted["nodes"]
    elif "select" in wanted:
        select, place = wanted["select"], wanted.get("place", "free")
    else:
        parts = [f"{name}={value}" for name, value in wanted.items() if name in _COUNTS | _SIZES | _TEXTS]
        if "ncpus" not in wanted:
            parts.append("ncpus=1")
        select, place = (
            "1:" + ":".join(sorted(parts, key=lambda part: part[:5] != "ncpus")),
            wanted.get("place", "pack"),
        )
    _check_place(place)
    chunks, sums = _parse_select(select)
    listed |= sums | {"nodect": len(chunks), "place": place, "select": select}
    return {f"Resource_List.{name}": listed[name] for name in sorted(listed)}, chunks, place


def _check(full_name, name, value):
    if name in _COUNTS and not (value.isascii() and value.isdigit()):
        raise _illegal(full_name)
    if name in _SIZES and parse_size(value) is None:
        raise _illegal(full_name)
    if name in _TIMES and parse_duration(value) is None:
        raise _illegal(full_name)


def _check_place(place):
    words = place.split(":")
    if not set(words) <= _ARRANGEMENTS | _SHARING or len(set(words) & _ARRANGEMENTS) > 1:
        raise _illegal("Resource_List.place")


def _select_of_nodes(nodes):
    """Convert `2:ppn=4:gpus=1` to a selection."""
    count, *rest = nodes.split(":")
    if not count.isdigit():
        raise _illegal("Resource_List.nodes")
    ppn, others = "1", ""
    for word in rest:
        name, _, value = word.partition("=")
        if name == "ppn":
            ppn = value
        elif name == "gpus":
            others += f":ngpus={value}"
        else:
            others += f":{word}"
    return f"{count}:ncpus={ppn}{others}:mpiprocs={ppn}"


def _parse_select(select):
    """Parse a selection into its chunks and the sums over them."""
    chunks, sizes, sums = [], [], {}
    for part in select.split("+"):
        first, *rest = part.split(":")
        count = int(first) if first.isdigit() else 1
        if count == 0:
            raise _illegal()
        if not first.isdigit():
            if "=" not in first:
                raise _illegal("Resource_List.select")
            rest.insert(0, first)
        chunk = {}
        for word in rest:
            name, equals, value = word.partition("=")
            if not equals:
                raise _illegal("Resource_List.select")
            if name not in _COUNTS | _SIZES | _TEXTS:
                raise CommandError(f"qsub: Unknown resource: {name}\n", 187)
            _check(f"select.{name}", name, value)
            if name in _COUNTS:
                chunk[name] = int(value)
            elif name in _SIZES:
                chunk[name] = in_kilobytes(parse_size(value))
                if name == "mem":
                    sizes += [parse_size(value)] * count
            else:
                chunk[name] = value
        chunk.setdefault("ncpus", 1)
        chunks += [chunk] * count
    for name in _IN_SUMS:
        if name != "mem" and any(name in chunk for chunk in chunks):
            sums[name] = sum(chunk.get(name, 1 if name == "mpiprocs" else 0) for chunk in chunks)
    if sizes:
        units = {unit for _, unit in sizes}
        if len(units) == 1:
            sums["mem"] = f"{sum(number for number, _ in sizes)}{units.pop()}"
        else:
            sums["mem"] = f"{sum(map(in_kilobytes, sizes))}kb"
    return chunks, sums
