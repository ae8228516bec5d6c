"""The questionnaire of reproducibility: its form, its score, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.package.questionnaire import (
    LONGEST_ANSWER,
    QUESTIONS,
    RECORDED,
    Questionnaire,
    form,
    parse_questionnaire,
)
from aiperf_orch.settings.models import SystemSettings
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit

_SYSTEM = SystemSettings()
_RECORDED: dict[str, Any] = {key: 2 if key == "number_of_nodes" else "known" for key in RECORDED}
_VALUES = {str: "none", bool: "yes", int: "0"}


def _filled(*left_out: str) -> str:
    """The form with an answer to every question but those left out."""
    text = form()
    for question in QUESTIONS:
        if question.key not in left_out:
            line = f"({question.weight})\n  {question.key.partition('.')[2]}:"
            start = text.index(f"{question.text} {line}")
            end = text.index("\n", start + len(question.text) + len(line))
            text = f"{text[:end]} {_VALUES[question.kind]}{text[end:]}"
    return text


def _refused(text: str) -> list[str]:
    with pytest.raises(UsageError) as refused:
        parse_questionnaire(text, "q.yaml")
    return str(refused.value).splitlines()


def test_the_form_has_every_question_once_and_no_answer() -> None:
    text = form()
    assert max(map(len, text.splitlines())) <= 120
    assert parse_questionnaire(text, "q.yaml").answers == {}
    assert [text.count(f"# {question.text} (") for question in QUESTIONS] == [1] * len(QUESTIONS)
    assert len({question.key for question in QUESTIONS}) == len(QUESTIONS)
    assert {question.key for question in QUESTIONS} & {f"system.{key}" for key in SystemSettings.model_fields} == set()


def test_recorded_keys_are_those_of_the_site_file() -> None:
    assert RECORDED.keys() <= SystemSettings.model_fields.keys()


def test_the_score_is_the_answered_share_of_the_weights() -> None:
    empty, full = parse_questionnaire(form(), "q.yaml"), parse_questionnaire(_filled(), "q.yaml")
    assert (empty.score(_SYSTEM), full.score(SystemSettings(**_RECORDED))) == (0.0, 1.0)
    assert full.score(_SYSTEM) == 34 / 40
    assert full.unanswered(_SYSTEM)[0] == "system.number_of_nodes of the site file"
    some = parse_questionnaire(_filled("run.tuning", "system.cooling"), "q.yaml")
    assert some.score(SystemSettings(**_RECORDED)) == 37 / 40
    assert some.unanswered(SystemSettings(**_RECORDED)) == ["run.tuning"]
    assert parse_questionnaire("version: 1\nrun: {earlier_campaigns: 0}\n", "q").score(_SYSTEM) == 1 / 40


def test_no_is_an_answer() -> None:
    for text in ("no", "No", "false"):
        found = parse_questionnaire(f"version: 1\nrun:\n  whole_system: {text}\n", "q.yaml")
        assert found.answers == {"run.whole_system": False}
        assert found.score(_SYSTEM) == 2 / 40


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("550.90", "550.90"),
        ("1e3", "1e3"),
        ("true", "true"),
        (">\n    one\n    two\n", "one two"),
        ("|\n    one\n    two\n", "one two"),
        ("'latency: < 2 us'", "latency: < 2 us"),
        ("鹏城 550", "鹏城 550"),
        ("https://example.org/driver#550", "https://example.org/driver#550"),
    ],
)
def test_a_text_is_kept_as_it_was_written(text: str, answer: str) -> None:
    assert parse_questionnaire(f"version: 1\nsoftware:\n  driver: {text}\n", "q").answers == {"software.driver": answer}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nrunn:\n  tuning: none\n", "q.yaml:2: runn: unknown key; did you mean run?"),
        ("version: 1\nrun:\n  tunning: none\n", "q.yaml:3: run.tunning: unknown key; did you mean tuning?"),
        ("version: 1\nrun:\n  driver: none\n", "q.yaml:3: run.driver: unknown key; did you mean software.driver?"),
        ("version: 1\nrun:\n  zzz: 1\n", "q.yaml:3: run.zzz: unknown key; known here: whole_system, exclusive_nodes, "),
        ("version: 1\nrun: all\n", "q.yaml:2: run: a section with keys is expected, not 'all'"),
        ("version: 1\nrun:\n  whole_system: maybe\n", "q.yaml:3: run.whole_system: must be yes or no, not 'maybe'"),
        ("version: 1\nrun:\n  whole_system: 1\n", "q.yaml:3: run.whole_system: must be yes or no, not 1"),
        ("version: 1\nsystem:\n  nodes: many\n", "q.yaml:3: system.nodes: must be a whole number from 0 to 1000000000"),
        ("version: 1\nsystem:\n  nodes: true\n", "q.yaml:3: system.nodes: must be a whole number"),
        ("version: 1\nsystem:\n  nodes: -1\n", "q.yaml:3: system.nodes: must be a whole number"),
        ("version: 1\ndata:\n  source: [a]\n", "q.yaml:3: data.source: must be a text, not ['a']"),
        ("version: 1\ndata:\n  source: ?!\n", "q.yaml:3: data.source: has neither a letter nor a digit: '?!'"),
        ("version: 1\ndata:\n  source: <b>x\n", "q.yaml:3: data.source: has '<b', which would begin a tag"),
        ('version: 1\ndata:\n  source: "a\\u202e"\n', "q.yaml:3: data.source: has characters that are not printable"),
        (f"version: 1\ndata:\n  source: {'x' * 401}\n", "q.yaml:3: data.source: has 401 characters"),
        ("version: 2\n", "q.yaml:1: version: must be 1, the version of these questions, not 2"),
        ("version: true\n", "q.yaml:1: version: must be 1"),
        ("run:\n  tuning: none\n", "q.yaml:1: version: must be 1, the version of these questions, not None"),
        ("- 1\n", "q.yaml: a questionnaire is a mapping of sections: version, system, "),
        ("version: 1\nversion: 1\n", "q.yaml:2: version occurs twice"),
        ("version: 1\nrun: [\n", "q.yaml:3:1: not valid YAML"),
    ],
)
def test_a_wrong_questionnaire_is_refused_with_its_line(text: str, message: str) -> None:
    (line,) = _refused(text)
    assert line.startswith(message)


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    lines = _refused("version: 1\nrun:\n  whole_system: 7\n  tunning: x\nextra: 1\n")
    assert [line.split(":")[1] for line in lines] == ["3", "4", "5"]


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=LONGEST_ANSWER))
def test_answers_that_are_read_are_read_again_from_a_package(text: str) -> None:
    answer = " ".join(text.split())
    if not answer.isprintable() or not any(map(str.isalnum, answer)) or "<" in answer:
        return
    packed = Questionnaire({"data.source": answer, "run.whole_system": False, "system.nodes": 0}, {}).to_yaml()
    assert parse_questionnaire(packed.decode(), "q.yaml").answers["data.source"] == answer


def test_the_largest_questionnaire_fits_into_a_package() -> None:
    answers: dict[str, Any] = {question.key: "\U0001f600" * LONGEST_ANSWER + "x" for question in QUESTIONS}
    assert len(Questionnaire(answers, {}).to_yaml()) < (1 << 20) // 4


def test_hashes_that_make_an_answer_too_long_are_refused() -> None:
    found = parse_questionnaire(f"version: 1\ndata:\n  source: {'x ' * 190}\n", "q.yaml")
    with pytest.raises(UsageError, match=r"^data.source: with private values replaced by hashes it has \d+ characters"):
        found.changed(lambda text: text.replace("x", "sha256"))
