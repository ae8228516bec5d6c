"""Pseudonyms for names in records: hosts, domains, users, accounts, the cluster.

A name has the same pseudonym in every form: short or with its domain, in capitals, with the suffix of a network
interface (`n1-ib0`), in a path, in a job id (`123.pbs.example.edu`), in a compressed list (`n[1-4]`). In fields that
contain only a name, every name is replaced. In free text, a name that is an ordinary word (`node`, `a`) or a number is
kept, because it cannot be distinguished from other text; with its domain it is replaced there as well.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

PSEUDONYM: Final = r"(?:host|domain|user|account|cluster|reservation)-(?:[0-9]+|\[[0-9,-]+\])"
"""Pattern of the pseudonym of a name, or of a list of names."""
_MOST_NAMES: Final = 20_000  # in a compressed list
_MOST_PARTS: Final = 10  # of a name, separated by dots, dashes or underscores
_EDGE: Final = r"(?<![^\W_])"
_LIST: Final = rf"{_EDGE}[^\W\d_][\w.-]*(?:\[\d[\d,-]*\][\w.-]*)+"
_WORD: Final = rf"(?:(?<=/)(?P<homes>(?:home|homes|users|usr/people)\d*/))?(?P<word>{_EDGE}[^\W_](?:[\w.+-]*[^\W_])?)"
_AT: Final = r"(?:@(?P<at>[^\W_](?:[\w.-]*[^\W_])?))?"
_TOKEN: Final = re.compile(rf"(?P<list>{_LIST})|{_WORD}{_AT}", re.IGNORECASE)
_PART: Final = re.compile(r"[^\W_]+|[\W_]")
_INTERFACE: Final = re.compile(r"(.+)([-_.](?:ib|ipoib|opa|hsn|roce|mlx|eth|enp?|bond)[a-z0-9]*)", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"(.*?)(\d{1,7})")
_ADDRESS: Final = re.compile(r"[\d.]+|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_NEVER_HOSTS: Final = re.compile(
    r"(x86|i[3-6]86|sha|md|cifar|resnet|fp|bf|tf|int|uint|float|utf|python|py|cuda|epoch|round|rank|task|trial|line)\d*"
)
"""Words with trailing digits that are never taken for numbered hosts."""
_ORDINARY: Final = frozenset(
    """
    a account accounting admin administrator all an and are array as at bash batch be before bin but by cancelled case
    cluster command compute controller core cores could cpu cpus data day deleted did disk do down end ended env epoch
    error errors exceeded exec exit failed false file files for found from gpu gpus group head held home host hosts id
    if in into is it its job jobs killed last left limit line linux local localhost log login lost main manager master
    mem memory message more module most name network no node nodes none not null of off ok on one or out over path pbs
    pending process python qsub queue rank reason requeue resources root run running sbatch scheduler scratch script
    server service set shell signal slurm slurmd slurmstepd some srun start state status step stopped storage stream
    submit sudo suspended system task tasks temporary test than that the then there this time timed tmp to torch train
    trial true two up usage use user users usr var version waits walltime warning was were with work worker
    """.split()  # noqa: SIM905  a list of quoted words would be hard to read
)


@dataclass
class Pseudonyms:
    """Replacement of names by pseudonyms.

    Names are added first (`add_host`, ...), then replaced. A name that was not added gets the next number when it is
    replaced.
    """

    _named: set[tuple[str, str]] = field(default_factory=set)  # (kind, name) of added names
    _shown: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name) -> pseudonym
    _numbers: dict[str, int] = field(default_factory=dict)  # kind -> latest number
    _kinds: dict[str, str] = field(default_factory=dict)  # name that can be distinguished from a word -> kind
    _real: set[str] = field(default_factory=set)
    _domains: set[str] = field(default_factory=set)
    _stems: dict[str, int] = field(default_factory=dict)
    _agent_hosts: set[str] = field(default_factory=set)
    _known: dict[tuple[str, ...], str] = field(default_factory=dict)  # cache of replacements

    # adding names

    def add_host(self, name: str) -> None:
        """Add a host name, with or without a domain."""
        short, domain = _split(name)
        if not short:
            return
        self._real.add(short)
        labels = domain.split(".") if domain else []
        self._domains |= {".".join(labels[start:]) for start in range(len(labels)) if len(labels) - start > 1}
        if len(labels) == 1:
            self._domains.add(domain)
        base = _without_interface(short)[0]
        self._add("host", base)
        numbered = _NUMBERED.fullmatch(base)
        if numbered and numbered[1] and not _NEVER_HOSTS.fullmatch(base):
            self._stems[numbered[1]] = max(len(numbered[2]), self._stems.get(numbered[1], 0))

    def add_job(self, job: str) -> None:
        """Add the server of a job id as a host."""
        server = _server_of(job)[1]
        if server:
            self.add_host(server)

    def add_agent(self, name: str) -> None:
        """Add the host in the name of an agent, `n17.1`, which free text shows even where the host is like a word."""
        host = name.rpartition(".")[0]
        self.add_host(host)
        self._agent_hosts.add(host.casefold())

    def add_users(self, names: Iterable[str]) -> None:
        """Add user names."""
        for name in names:
            self._add("user", name.casefold())

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Add names of another kind, such as `account`; a text may hold several names, separated by commas."""
        for name in itertools.chain.from_iterable(each.split(",") for each in names):
            if name:
                self._add(kind, name.casefold())

    def add_hosts(self, expression: str) -> None:
        """Add the hosts of a list as schedulers write it, compressed or not."""
        for item in re.findall(r"[^\s,\[\]]+(?:\[[\d,-]+\][^\s,\[\]]*)*", expression):
            for name in itertools.islice(_expanded(item), _MOST_NAMES):
                self.add_host(name)

    # replacing names

    def host(self, name: str) -> str:
        """Replace a field that contains only a host name; the suffix of an interface is kept."""
        short, _ = _split(name)
        base, interface = _without_interface(short)
        return self._pseudonym("host", base) + interface if short else name

    def job(self, job: str) -> str:
        """Replace the server in a job id."""
        number, server = _server_of(job)
        return f"{number}.{self.host(server)}" if server else self.text(job)

    def agent(self, name: str) -> str:
        """Replace the host in the name of an agent, `n17.1`."""
        host, _, number = name.rpartition(".")
        return f"{self.host(host)}.{number}"

    def user(self, name: str) -> str:
        """Replace a field that contains only a user name."""
        return self._pseudonym("user", name.casefold()) if name else name

    def text(self, text: str) -> str:
        """Replace every name in a text that can be distinguished from a word."""
        return _TOKEN.sub(self._token, text)

    def _token(self, found: re.Match[str]) -> str:
        if found["list"]:
            return self._remembered(("list", found["list"]))
        homes, word, at = found["homes"], found["word"], found["at"]
        if homes:
            shown = homes + self._pseudonym("user", word.casefold())
        elif at and self._is_user_at(word, at):
            shown = self._pseudonym("user", word.casefold())
        else:
            shown = self._remembered(("word", word))
        return shown if at is None else f"{shown}@{self._remembered(('at', at))}"

    def _remembered(self, key: tuple[str, str]) -> str:
        if key not in self._known:
            kind, word = key
            match kind:
                case "list":
                    self._known[key] = self._list(word)
                case "at":
                    self._known[key] = self._host_or_word(word)
                case _:
                    self._known[key] = self._word(word)
        return self._known[key]

    def _is_user_at(self, word: str, at: str) -> bool:
        known = self._kinds.get(_split(at)[0]) == "host" or self._domain_in(at) is not None
        return known and word.casefold() not in _ORDINARY and not word.isdigit()

    def _host_or_word(self, name: str) -> str:
        """Replace the name after an @: a host even if its name is an ordinary word."""
        short = _split(name)[0]
        return self.host(name) if ("host", short) in self._named and not short.isdigit() else self._word(name)

    def _word(self, word: str) -> str:
        """Replace the names in a word of letters, digits, dots, dashes and underscores."""
        host, _, number = word.rpartition(".")
        if host.casefold() in self._agent_hosts and number.isdigit() and not _ADDRESS.fullmatch(host):
            return self.agent(word)
        found = self._domain_in(word)
        if found is None:
            return self._parts(word)
        start, end = found
        before, after = word[:start], word[end:]
        if not before:
            return self._pseudonym("domain", word[start:end].casefold()) + self._word(after)
        return self._in_domain(before.removesuffix(".")) + (self._word(after) if after else "")

    def _in_domain(self, labels: str) -> str:
        """Replace the labels before a domain, `n1-ib0`, or `123.pbs` of a job id; the domain is dropped."""
        number = re.match(r"(?:\d+\.)+(?=[^\d.])", labels)
        kept = number[0] if number else ""
        label = labels[len(kept) :].partition(".")[0]
        base, interface = _without_interface(label.casefold())
        if ("host", base) in self._named:
            return f"{kept}{self._pseudonym('host', base)}{interface}"
        shown = self._parts(label)
        return kept + (shown if shown != label else self._pseudonym("host", base) + interface)

    def _domain_in(self, word: str) -> tuple[int, int] | None:
        """Start and end of the longest known domain in a word; None without one."""
        lower = word.casefold()
        for domain in sorted(self._domains, key=len, reverse=True):
            found = re.search(rf"(?:(?<=\.)|^){re.escape(domain)}(?![^\W_])", lower)
            if found and ("." in domain or found.start() > 0) and len(lower) == len(word):
                if "." not in domain and not self._is_host(lower[: found.start() - 1]):
                    continue  # a domain of one label counts only after a host
                return found.span()
        return None

    def _is_host(self, labels: str) -> bool:
        base = _without_interface(labels.rpartition(".")[2])[0]
        return ("host", base) in self._named or self._is_numbered(base)

    def _parts(self, word: str) -> str:
        """Replace names between dots, dashes and underscores of a word, the longest first."""
        parts, shown, start = _PART.findall(word), [], 0
        while start < len(parts):
            for end in range(min(len(parts), start + 2 * _MOST_PARTS), start, -1):
                piece = "".join(parts[start:end]).casefold()
                kind = self._kinds.get(piece) or ("host" if self._is_numbered(piece) else None)
                if kind is None and start and parts[start - 1] == "." and parts[start - 2].isdigit():
                    kind = "host" if ("host", piece) in self._named and not piece.isdigit() else None  # `123.pbs`
                if kind:
                    shown.append(self._pseudonym(kind, piece))
                    break
            else:
                shown.append(parts[start])
                end = start + 1
            start = end
        return "".join(shown)

    def _is_numbered(self, name: str) -> bool:
        """Whether a name has the stem of a known numbered host: `n7` when `n1` is known."""
        numbered = _NUMBERED.fullmatch(name)
        if not numbered or numbered[1] not in self._stems or _NEVER_HOSTS.fullmatch(name):
            return False
        return len(numbered[1]) > 1 or len(numbered[2]) <= self._stems[numbered[1]]

    def _list(self, item: str) -> str:
        """Replace a compressed list of hosts by one of pseudonyms; other bracketed text is treated as words."""
        names = list(itertools.islice(_expanded(item), _MOST_NAMES))
        if not any(self._is_host(_split(name)[0]) or self._domain_in(name) for name in names):
            parts = filter(None, re.split(r"(\[[^\]]*\])", item))
            return "".join(part if part.startswith("[") else self._word(part) for part in parts)
        numbers = sorted({int(self.host(name).split("-")[1]) for name in names})
        interface = _without_interface(_split(names[0])[0])[1]
        return f"host-[{_ranges(numbers)}]{interface}" if len(numbers) > 1 else f"host-{numbers[0]}{interface}"

    def _add(self, kind: str, name: str) -> None:
        """Store a name, and decide whether it can be distinguished from a word in free text."""
        self._real.add(name)
        self._named.add((kind, name))
        is_address = _ADDRESS.fullmatch(name) and not name.isdigit()
        distinctive = len(name) > 2 or (len(name) == 2 and not name.isalpha())
        if is_address or (distinctive and not name.isdigit() and name not in _ORDINARY):
            self._kinds.setdefault(name, kind)

    def _pseudonym(self, kind: str, name: str) -> str:
        while (kind, name) not in self._shown:
            number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
            if f"{kind}-{number}" not in self._real:  # a real host may be named host-1
                self._shown[kind, name] = f"{kind}-{number}"
        return self._shown[kind, name]


def _split(name: str) -> tuple[str, str]:
    """Split a host name into short name and domain; addresses have no domain."""
    lower = name.strip().rstrip(".").casefold()
    if _ADDRESS.fullmatch(lower):
        return lower, ""
    short, _, domain = lower.partition(".")
    return short, domain


def _without_interface(short: str) -> tuple[str, str]:
    """Split a short host name into the name and the suffix of a network interface."""
    found = _INTERFACE.fullmatch(short)
    return (found[1], found[2]) if found else (short, "")


def _server_of(job: str) -> tuple[str, str]:
    """Split a job id, `123.pbs.example.edu` or `123[4].pbs`, into number and server; other ids have no server."""
    found = re.fullmatch(r"(\d+(?:\[\d*\])?)\.(.*[^\W\d].*)", job)
    return (found[1], found[2]) if found else (job, "")


def _expanded(item: str) -> Iterator[str]:
    """Expand a compressed list, `n[1-3,07]-ib0`."""
    pieces = [
        list(_numbers(piece[1:-1])) if piece.startswith("[") else [piece] for piece in re.split(r"(\[[^\]]*\])", item)
    ]
    return map("".join, itertools.product(*pieces))


def _numbers(ranges: str) -> Iterator[str]:
    for each in filter(None, ranges.split(",")):
        first, _, last = each.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            yield each
            continue
        for number in itertools.islice(range(int(first), int(last or first) + 1), _MOST_NAMES):
            yield str(number).zfill(len(first))


def _ranges(numbers: list[int]) -> str:
    """Format sorted integers as ranges: `1-3,7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
