from __future__ import annotations

from typing import Any

import pytest

from leash_shim.request_head import fault


def scope(**changed: Any) -> dict[str, Any]:
    return {"method": "POST", "query_string": b"a=b&c=%20d", "headers": [(b"x-a", b"b\tc \xc3\xa9")]} | changed


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND", "M-SEARCH"])
def test_an_ordinary_head_is_in_order(method: str) -> None:
    assert fault(scope(method=method)) == ("", "")
    assert fault(scope(query_string=b"")) == ("", "")
    assert fault(scope(headers=[])) == ("", "")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "", "POST /evil", "POST\r\n", "P\xd6ST", "POST:", "PO\0ST"])
def test_a_method_that_opens_a_tunnel_or_is_none_is_refused(method: str) -> None:
    assert fault(scope(method=method))[0] == "bad_method"


@pytest.mark.parametrize("query", [b"a b", b"a\tb", b"a\r\nb", b"a\0b", b"a\x7fb", b"a\xc3\xa9", b"a#b", b" "])
def test_a_query_that_would_end_elsewhere_on_the_way_is_refused(query: bytes) -> None:
    assert fault(scope(query_string=query))[0] == "bad_path"


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b", b"a\x1bb", b"\x7f"])
def test_a_value_with_a_control_character_is_refused(value: bytes) -> None:
    assert fault(scope(headers=[(b"x-a", b"fine"), (b"x-b", value)]))[0] == "bad_header"
