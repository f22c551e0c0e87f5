"""How much each figure of a chip moves a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.catalog.load import Model, load_chip, load_model
from roofline.estimates.estimate import estimate
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

if TYPE_CHECKING:
    import pandas as pd


def sensitivity(
    model: Model | str, chip: Chip | str, figure: str | None = None, step: float = 0.1, **options: Any
) -> pd.DataFrame:
    """How much each figure of the chip moves the result: elasticities, largest first.

    Parameters
    ----------
    model, chip, **options
        As for :func:`roofline.estimate`.
    figure : str, optional
        Headline figure; default: `tokens_per_s` or `samples_per_s`.
    step : float
        Relative change of each chip figure.

    Returns
    -------
    DataFrame
        Indexed by chip figure: `value` (SI), `elasticity` (percent of the result per percent of the figure),
        `result` (the result after the change). Figures that move nothing are left out.
    """
    import pandas as pd

    chip = chip if isinstance(chip, Chip) else load_chip(chip)
    model = model if isinstance(model, LanguageModel | Recommender) else load_model(model)
    figure = figure or ("tokens_per_s" if isinstance(model, LanguageModel) else "samples_per_s")
    base = estimate(model, chip, check=False, **options)
    if not isinstance(step, int | float) or not 1e-6 <= abs(step) < 1:
        raise BadWorkload(f"sensitivity: expected a relative step such as 0.1, found {step!r}")
    if np.shape(base.time_s):
        raise BadWorkload("sensitivity: expected one point, found arrays; sweep and estimate do arrays")
    if figure not in base.FIGURES:
        raise BadWorkload(f"sensitivity: no figure {figure!r}; there are {', '.join(base.FIGURES)}")
    paths = [p for p, n in chip.numbers.items() if n.dimension in ("rate", "bandwidth", "capacity", "time") and n.value]
    paths = [p for p in paths if not p.endswith(".capacity") or p == f"memory.{chip.cache_level}.capacity"]
    if not paths:
        return pd.DataFrame(columns=["value", "elasticity", "result"])
    # One array per figure, each with its own element changed: all the what-ifs are one estimate.
    changes = {p: chip[p] * (1 + step * np.eye(len(paths))[i]) for i, p in enumerate(paths)}
    moved = np.broadcast_to(
        getattr(estimate(model, chip.what_if(changes), check=False, **options), figure), (len(paths),)
    )
    before = float(getattr(base, figure))
    table = pd.DataFrame(
        {
            "value": [chip[p] for p in paths],
            "elasticity": np.log(moved / before) / np.log1p(step),
            "result": moved,
        },
        index=pd.Index(paths, name="figure"),
    )
    table = table[table["elasticity"].abs() > 1e-6]
    return table.sort_values("elasticity", key=lambda e: e.abs(), ascending=False)
