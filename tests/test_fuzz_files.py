"""Files with one thing wrong: every reader refuses them in words or reads them, whatever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.strategies_files import FRONTS


@pytest.mark.parametrize("front", [name for name in FRONTS if name != "measurements"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_no_file_breaks_its_reader(tmp_path: Path, front: str, data: Any) -> None:
    strategy, check = FRONTS[front]
    check(data.draw(strategy), tmp_path)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=FRONTS["measurements"][0])
def test_no_table_of_measurements_breaks_the_validation(tmp_path: Path, text: str) -> None:
    FRONTS["measurements"][1](text, tmp_path)  # fewer: a validation of a few rows takes a quarter of a second
