"""OpenMetrics text is read by the strict parser of Prometheus' client, and by that of the older format."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
from prometheus_client.parser import text_string_to_metric_families as parse_older

from aiperf_orch.util.openmetrics import Metric, MetricType, Sample, render

pytestmark = pytest.mark.unit
_JOULES = Metric("a_energy_joules", MetricType.COUNTER, "Energy.", [Sample(5, {})], "joules")
_ODD = 'a "quoted" \\ text\nof two lines'


def test_a_counter_with_a_unit_is_read() -> None:
    [found] = parse(render([_JOULES]))
    assert (found.name, found.type, found.unit, found.documentation) == (
        "a_energy_joules",
        "counter",
        "joules",
        "Energy.",
    )
    assert [(each.name, each.value) for each in found.samples] == [("a_energy_joules_total", 5)]


def test_labels_and_texts_of_any_characters_are_kept() -> None:
    [found] = parse(render([Metric("a", MetricType.GAUGE, _ODD, [Sample(0.25, {"b": _ODD, "c": ""})])]))
    assert found.documentation == _ODD
    assert [(each.labels, each.value) for each in found.samples] == [({"b": _ODD, "c": ""}, 0.25)]


def test_a_metric_without_a_value_is_left_out() -> None:
    assert render([Metric("a", MetricType.GAUGE, "Nothing.", [])]) == "# EOF\n"


def test_a_reader_of_the_older_format_finds_all_values() -> None:
    found = {each.name: each.value for family in parse_older(render([_JOULES])) for each in family.samples}
    assert found == {"a_energy_joules_total": 5}


@pytest.mark.parametrize(
    ("true", "wrong"),
    [
        ("# EOF\n", ""),
        ("_joules_total 5", "_joules 5"),
        ("# UNIT a_energy_joules joules", "# UNIT a_energy_joules watts"),
        ("counter", "count"),
        (" 5\n", " five\n"),
    ],
)
def test_the_parser_refuses_what_the_specification_forbids(true: str, wrong: str) -> None:
    text = render([_JOULES])
    assert true in text
    with pytest.raises(ValueError):  # noqa: PT011
        list(parse(text.replace(true, wrong)))
