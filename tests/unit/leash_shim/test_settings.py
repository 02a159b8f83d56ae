from __future__ import annotations

from typing import Any

import pytest

from leash_shim.settings import ShimSettings


@pytest.mark.parametrize("wrong", [{"refusal_status": 500}, {"max_body_bytes": 0}, {"header_timeout_s": 0.0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShimSettings(upstreams={}, session=None, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [None, 429, 402, 400])
def test_a_refusal_status_is_one_of_three_or_left_open(status: int | None) -> None:
    assert ShimSettings(upstreams={}, session=None, refusal_status=status).refusal_status == status  # type: ignore[arg-type]
