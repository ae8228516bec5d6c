"""Tests of strict JSON: what is not strict is refused, whether its value is needed or not."""

from __future__ import annotations

import pytest

from aiperf_orch.util import strict_json

pytestmark = pytest.mark.unit

REFUSED = {
    b'{"a":1,"a":1}': "the key 'a' occurs twice",
    b'{"b":{"a":1,"a":2}}': "the key 'a' occurs twice",
    b"[NaN]": "NaN is not JSON",
    b"[-Infinity]": "Infinity is not JSON",
    b"1e999": "too large for a number",
    b"[" * 33 + b"]" * 33: "nested too deeply",
    b"[" * 3000 + b"]" * 3000: "nested too deeply",
    b'{"a":1': "not JSON",
    b'{"a":1}\n\x00': "not JSON",
    b"": "not JSON",
    b'"\xff"': "not UTF-8 text",
}


@pytest.mark.parametrize("data", REFUSED)
@pytest.mark.parametrize("read", [strict_json.check, strict_json.loads])
def test_what_is_not_strict_is_refused(read: object, data: bytes) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=REFUSED[data]):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1.5,"b":[null,true,"x"]}\n',
        b'{ "a" : 1E2 }',
        b'"\\u00e9"',
        b'{"\xc3\xa9":12345678901234567890123}',
        b"[" * 32 + b"]" * 32,
    ],
)
def test_strict_text_in_any_form_is_accepted(data: bytes) -> None:
    strict_json.check(data)
    strict_json.loads(data)
