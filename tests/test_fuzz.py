"""Every front of :mod:`tests.fronts`: each input is refused in words or answered with finite numbers in order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fronts import FRONTS


@pytest.mark.parametrize("name", FRONTS)
def test_every_input_is_refused_in_words_or_answered(name: str) -> None:
    front = FRONTS[name]

    @settings(max_examples=front.in_suite, suppress_health_check=list(HealthCheck))
    @given(front.inputs)
    def case(given_input: object) -> None:
        front.check(given_input)

    case()
