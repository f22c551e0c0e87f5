"""What a limit of its power does to the speed of a chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload
from roofline.base.numeric import anywhere

if TYPE_CHECKING:
    from roofline.hardware.machine import Machine

#: The figure that says what a chip is held to, as a share of its TDP.
LIMIT = "power.limit_share"


def sustained_clock(limit_share: Any, floor_share: Any) -> Any:
    """Clock that a chip at full tilt sustains under a limit, as a share of that under the TDP.

    Power above a floor (leakage, memory, links) goes with the square of the clock: voltage falls with it, but not in
    step. Form and floor are set on one system with and without a limit (MLPerf Inference v4.1, NVIDIA, eight H200 at
    350 and 500 of 700 W), where exponents of 1.8 to 2.2 came out; ``docs/power.md`` has what it comes to.

    Parameters
    ----------
    limit_share, floor_share : float or array
        The limit, and the floor, as shares of the TDP.
    """
    return ((limit_share - floor_share) / (1.0 - floor_share)) ** 0.5


def clock_of(chip: Machine) -> Any:
    """The clock that its limit leaves a chip at full tilt, as a share of that under its TDP."""
    return sustained_clock(chip.get(LIMIT, 1.0), chip.get("power.floor_share", 0.0))


def slower(chip: Machine, limit_share: Any) -> Any:
    """The clock under another limit over that under the present one.

    Raises
    ------
    BadWorkload
        For a limit that leaves the clock nothing.
    """
    floor = chip.get("power.floor_share", 0.0)
    if anywhere(limit_share <= floor):
        tdp = chip.get("power.tdp")
        watts = "" if tdp is None or np.ndim(tdp) else f" ({units.text(float(floor * tdp), 'W', 3)})"
        raise BadWorkload(
            f"what-if {LIMIT}: expected more than {floor:.3g} of the TDP{watts}, which does not go with the clock, "
            f"found {float(np.min(limit_share)):.3g}"
        )
    return sustained_clock(limit_share, floor) / clock_of(chip)
