"""Broken model files, arguments and requests, a few hundred of each: an error of ours or finite numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings

from tests import strategies_models as models

broken = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(models.configs)
@broken
def test_broken_configs(config: dict[str, Any]) -> None:
    models.harmless(lambda: models.run_config(config))


@given(models.recommenders)
@broken
def test_broken_recommenders(raw: dict[str, Any]) -> None:
    models.harmless(lambda: models.run_recommender(raw))


@given(models.calls())
@broken
def test_broken_arguments(call: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    models.harmless(lambda: models.run_call(*call))


@given(models.requests())
@broken
def test_broken_requests(asked: tuple[str, str, dict[str, Any]]) -> None:
    models.harmless(lambda: models.run_request(*asked))
