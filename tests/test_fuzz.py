"""Every front of :mod:`tests.fronts`: each input is refused in words or answered with finite numbers in order."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import roofline as rl
from tests.fronts import FRONTS
from tests.strategies_models import CONFIGS

_L40S = tomllib.loads((Path(rl.__file__).parent / "chips" / "l40s.toml").read_text(encoding="utf-8"))


def _changed(config: str, part: str, **values: int) -> dict[str, Any]:
    """A built-in model's configuration with other values in a part of it."""
    return {**CONFIGS[config], part: {**CONFIGS[config][part], **values}}


#: Cases that broke once.
BROKE: list[tuple[str, Any]] = [
    ("estimates", ("meta-retrieval", "a100-pcie-40gb", {"batch": 48})),
    ("estimates", ("dcnv2-nvidia-t15", "a100-pcie-40gb", {"dtype": "bf16", "skew": 0, "devices": 2, "batch": 2})),
    ("options", ("dlrm-v2", "tpu-v5p", {"batch": 10**12, "devices": 10**12})),
    ("configs", _changed("gemma-3-4b", "vision_config", patch_size=10**6)),
    ("configs", _changed("voxtral-mini-3b", "audio_config", hidden_size=10**6)),
    ("descriptors", {"schema": 1, "name": "mine", "extends": "é" * 255}),
    ("descriptors", {**_L40S, "stack": {name: {} for name in _L40S["stack"]}}),
    (
        "ceilings",
        "probe,mode,dtype,bytes,value,median,samples\nlaunch,,,0,4e-06,5e-06,9\n"
        "latency,chain,,134217728,1.1e-07,1.2e-07,5\npeak,gemm 1024,bf16,0,2.5e+11,2.4e+11,9\n"
        "peak,gemm 512,fp64,0,1e+11,9e10,9\nhost_copy,to the device,,268435456,2e10,1.9e10,10\n"
        "bandwidth,read,fp64,16384,1000,1000,5\n",
    ),
]


@pytest.mark.parametrize(("name", "broke"), BROKE)
def test_what_broke_once_holds(name: str, broke: Any) -> None:
    FRONTS[name].check(broke)


@pytest.mark.parametrize("name", FRONTS)
def test_every_input_is_refused_in_words_or_answered(name: str) -> None:
    front = FRONTS[name]

    @settings(max_examples=front.in_suite, suppress_health_check=list(HealthCheck))
    @given(front.inputs)
    def case(given_input: object) -> None:
        front.check(given_input)

    case()
