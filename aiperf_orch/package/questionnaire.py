"""Questionnaire of reproducibility: what a committee has to know beside the records to reproduce a result.

The questions stand in one table, from which the form, the check and the score follow. Nothing is asked that the
records or the section `system` of the settings have; keys of that section count for the score.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.settings.models import SystemSettings
from aiperf_orch.settings.yaml_text import Key, dump_yaml, parse_yaml
from aiperf_orch.util.errors import UsageError

Answer = str | bool | int

QUESTIONNAIRE_VERSION: Final = 1
"""Version of the questions, which a questionnaire states."""
LONGEST_ANSWER: Final = 400
"""Characters of one answer."""
_MOST: Final = 10**9  # of an answer that is a number
_MOST_BYTES: Final = 1 << 16  # of a file that a site has filled in
_TRUTH: Final = {"yes": True, "no": False, "true": True, "false": False}
_HEADER: Final = """\
# Questionnaire of reproducibility of an AIPerf result. It travels in the package: the answers are public.
#
# Answer in one line behind the colon, or leave it empty. A question that does not apply is answered by `none`.
# Put an answer that contains `: ` or ` #` into quotes. The number behind each question is its weight, and the score is
# the answered share of all weights.
#
# The hardware is not asked: it stands in the section `system` of the site file. These of its keys count, too, if they
# were set when the campaign was made:
{keys}
"""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: section and name, with a dot between them.
        kind: of the answer: text, a truth value or a whole number from 0.
        weight: of the answer in the score; 0 for an optional question.
        text: what is asked, a sentence or two.
    """

    key: str
    kind: type[str] | type[bool] | type[int]
    weight: int
    text: str


QUESTIONS: Final = (
    Question("system.nodes", int, 1, "Number of compute nodes of the whole system, whether the campaign used them."),
    Question("system.topology", str, 1, "Topology of the network between nodes, and its adapters on each node."),
    Question(
        "system.storage", str, 2, "File system that held the data set (servers, media), and the nodes' own disks."
    ),
    Question(
        "system.host_settings", str, 1, "Settings of firmware and host: SMT, NUMA, frequency governor, huge pages."
    ),
    Question("system.accelerator_settings", str, 1, "Power limit, clocks and partitions of the accelerators."),
    Question("system.cooling", str, 0, "Cooling of the nodes. Optional."),
    Question("software.driver", str, 2, "Versions of the kernel and of the accelerators' driver."),
    Question("software.libraries", str, 2, "Versions of CUDA or ROCm, cuDNN, NCCL, MPI and the like."),
    Question("software.container", str, 2, "Container image with its digest, or its recipe."),
    Question("software.installation", str, 2, "How PyTorch and aiperf-orch were installed: modules, lock file, build."),
    Question("software.changes", str, 2, "Changes to the source of aiperf-orch, PyTorch or the libraries."),
    Question("data.source", str, 2, "Where the data set came from: provider, version or date."),
    Question("data.preparation", str, 2, "What was done to it before the campaign: resized, converted, packed."),
    Question("data.staging", str, 2, "From where trials read it, how it came there, and whether before the campaign."),
    Question("run.whole_system", bool, 2, "Did the campaign use all nodes of the system? yes or no."),
    Question("run.exclusive_nodes", bool, 1, "Were its nodes free of other users' jobs? yes or no."),
    Question("run.earlier_campaigns", int, 1, "Number of campaigns on this system before this one, for the result."),
    Question("run.tuning", str, 3, "Which settings and environment variables were tuned, and how they were found."),
    Question("publication.public", str, 3, "What is public, and where: site file, container recipe, scripts, logs."),
    Question("publication.contact", str, 2, "Who answers questions about how to reproduce the result."),
)
"""All questions, in their order in the file; those of a section follow one another."""

RECORDED: Final[Mapping[str, int]] = {
    "number_of_nodes": 2,
    "host_processor_model_name": 1,
    "host_memory_capacity": 1,
    "host_networking": 1,
    "operating_system": 1,
}
"""Key of the section `system` of the settings -> its weight in the score."""

_BY_KEY: Final = {question.key: question for question in QUESTIONS}
_SECTIONS: Final = tuple(dict.fromkeys(question.key.partition(".")[0] for question in QUESTIONS))


@dataclass(frozen=True)
class Questionnaire:
    """A questionnaire that was filled in.

    Attributes:
        answers: key of a question -> its answer, in the order of the questions; questions without an answer are absent.
        lines: key -> its line in the file.
    """

    answers: Mapping[str, Answer]
    lines: Mapping[str, int]

    def score(self, system: SystemSettings) -> float:
        """The answered share of the weights of all questions and recorded keys, from 0 to 1.

        Args:
            system: the section of the campaign's settings.
        """
        missing = sum(weight for _, weight in self._missing(system))
        total = sum(question.weight for question in QUESTIONS) + sum(RECORDED.values())
        return (total - missing) / total

    def unanswered(self, system: SystemSettings) -> list[str]:
        """Keys that lower the score; those of the site file are marked so."""
        return [key for key, weight in self._missing(system) if weight]

    def _missing(self, system: SystemSettings) -> list[tuple[str, int]]:
        open_questions = [(question.key, question.weight) for question in QUESTIONS if question.key not in self.answers]
        unknown = [
            (f"system.{key} of the site file", weight) for key, weight in RECORDED.items() if not getattr(system, key)
        ]
        return open_questions + unknown

    def to_yaml(self) -> bytes:
        """The answers alone, as a package has them: equal answers give equal bytes."""
        document: dict[str, Any] = {"version": QUESTIONNAIRE_VERSION}
        for key, answer in self.answers.items():
            section, _, name = key.partition(".")
            document.setdefault(section, {})[name] = answer
        return dump_yaml(document).encode()

    def changed(self, change: Callable[[str], str]) -> Questionnaire:
        """The questionnaire with every text changed by a function.

        Raises:
            UsageError: naming the key, when a changed text is no valid answer.
        """
        answers = {key: change(answer) if isinstance(answer, str) else answer for key, answer in self.answers.items()}
        for key, answer in answers.items():
            if isinstance(answer, str) and (fault := _text_fault(answer)):
                raise UsageError(f"{key}: with private values replaced by hashes it {fault}: leave them out")
        return Questionnaire(answers, self.lines)


def form() -> str:
    """The questionnaire with all questions and no answers, as YAML with comments."""
    keys = "\n".join(f"#   {key} ({weight})" for key, weight in RECORDED.items())
    lines = [*_HEADER.format(keys=keys).splitlines(), "", f"version: {QUESTIONNAIRE_VERSION}"]
    section = None
    for question in QUESTIONS:
        name, _, key = question.key.partition(".")
        if name != section:
            lines += ["", f"{name}:"]
            section = name
        lines += [f"  # {question.text} ({question.weight})", f"  {key}:"]
    return "\n".join(lines) + "\n"


def read_questionnaire(path: Path) -> Questionnaire:
    """Read the questionnaire that a site has filled in.

    Raises:
        UsageError: when the file cannot be read, or as of `parse_questionnaire`.
    """
    try:
        data = read_regular(path, most=_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        draft = "; `aiperf-orch init --questionnaire --output FILE` writes an empty one"
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}{draft}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: larger than a questionnaire can be ({_MOST_BYTES} bytes)")
    return parse_questionnaire(text, str(path))


def parse_questionnaire(text: str, name: str) -> Questionnaire:
    """Read a questionnaire strictly.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        UsageError: naming file, line and key of everything that is wrong, each on its own line.
    """
    texts: dict[Key, str] = {}
    data, lines = parse_yaml(text, name, texts)
    if not isinstance(data, dict):
        raise UsageError(f"{name}: a questionnaire is a mapping of sections: version, {', '.join(_SECTIONS)}")
    answers: dict[str, Answer] = {}
    faults = list(_faults(data, texts, answers))
    if faults:
        raise UsageError(
            "\n".join(f"{name}:{lines.get(key, 1)}: {'.'.join(map(str, key))}: {why}" for key, why in faults)
        )
    ordered = {key: answers[key] for key in _BY_KEY if key in answers}
    return Questionnaire(ordered, {key: lines[tuple(key.split("."))] for key in ordered})


def _faults(data: Mapping[str, Any], texts: Mapping[Key, str], answers: dict[str, Answer]) -> Iterator[tuple[Key, str]]:
    """Key and reason of everything that is wrong in a document, whose valid answers are added to `answers`."""
    version = data.get("version")
    if version != QUESTIONNAIRE_VERSION or type(version) is not int:
        yield ("version",), f"must be {QUESTIONNAIRE_VERSION}, the version of these questions, not {version!r:.60}"
    for section, keys in data.items():
        if section == "version" or (section in _SECTIONS and keys is None):
            continue
        if section not in _SECTIONS:
            yield (section,), f"unknown key; {_hint(section, ('version', *_SECTIONS), [])}"
        elif not isinstance(keys, dict):
            yield (section,), f"a section with keys is expected, not {keys!r:.60}"
        else:
            for key, value in keys.items():
                yield from _answer_faults(section, key, value, texts.get((section, key)), answers)


def _answer_faults(
    section: str, key: str, value: Any, written: str | None, answers: dict[str, Answer]
) -> Iterator[tuple[Key, str]]:
    question = _BY_KEY.get(f"{section}.{key}")
    if question is None:
        known = [name.partition(".")[2] for name in _BY_KEY if name.startswith(f"{section}.")]
        elsewhere = [name for name in _BY_KEY if name.partition(".")[2] == key]
        yield (section, key), f"unknown key; {_hint(key, known, elsewhere)}"
    elif value is not None:
        try:
            answers[question.key] = _answer(question, value, written)
        except ValueError as error:
            yield (section, key), str(error)


def _answer(question: Question, value: Any, written: str | None) -> Answer:
    """The answer that a value is.

    Args:
        question: the question.
        value: of the YAML document.
        written: how a number or truth value was written.

    Raises:
        ValueError: with the reason why it is none.
    """
    if question.kind is bool:
        answer = _TRUTH.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(answer, bool):
            raise ValueError(f"must be yes or no, not {value!r:.60}")
        return answer
    if question.kind is int:
        if type(value) is not int or not 0 <= value <= _MOST:
            raise ValueError(f"must be a whole number from 0 to {_MOST}, not {value!r:.60}")
        return value
    text = value if isinstance(value, str) else written
    if text is None:
        raise ValueError(f"must be a text, not {value!r:.60}")
    text = " ".join(text.split())
    if fault := _text_fault(text):
        raise ValueError(fault)
    return text


def _text_fault(text: str) -> str | None:
    """Why a text is no answer, as the end of a sentence; None if it is one."""
    if len(text) > LONGEST_ANSWER:
        return f"has {len(text)} characters; an answer has at most {LONGEST_ANSWER}"
    if not text.isprintable():
        return "has characters that are not printable"
    if tag := HTML_TAG.search(text):
        return f"has {tag[0]!r}, which would begin a tag in a web page; put a space behind <"
    if not any(letter.isalnum() for letter in text):
        return f"has neither a letter nor a digit: {text!r:.60}; leave it empty, or answer `none`"
    return None


def _hint(key: str, known: Iterable[str], elsewhere: list[str]) -> str:
    """For an unknown key, the one that is probably meant, or else the known ones."""
    close = elsewhere or difflib.get_close_matches(key, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
