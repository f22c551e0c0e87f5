"""Which of the things in doubt make a result doubtful: variance-based sensitivity indices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, RooflineError, shown
from roofline.base.face import FLAG, TEXT, optional, takes
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip
from roofline.study import asked, chance, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

#: Points of one array estimate.
_TOGETHER = 2**14

#: What stands for the error of the model among what is in doubt.
MODEL_ERROR = "model error"


@takes(model=MODEL, chip=CHIP, figure=optional(TEXT), model_error=FLAG, scenarios=FLAG)
def indices(
    model: Model | str | os.PathLike[str],
    chip: Chip | str | os.PathLike[str],
    figure: str | None = None,
    *,
    draws: int = 512,
    seed: int = 0,
    model_error: bool = True,
    scenarios: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Which of the things in doubt make a result doubtful: Sobol indices of the logarithm of a figure.

    In doubt are the chip's figures that carry a range (those that share their luck are one), which of its scenarios
    comes true, and the model's own error. The index of the first order is the share of the variance that would go if
    that one thing were known; the total index, the share that would stay if all but that one were.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    figure : str, optional
        Headline figure; default: `tokens_per_s` or `samples_per_s`.
    draws : int
        Base draws, a power of two; so many times the number of things in doubt, and twice more, are evaluated.
    seed : int
        The same seed draws the same.
    model_error, scenarios : bool
        Whether the model's error and the choice of a scenario are among what is in doubt.
    **options
        As for :func:`roofline.estimate`; a single point, which need not fit. With `concurrency` among them, as for
        :func:`roofline.serve`.

    Returns
    -------
    DataFrame
        Indexed by what is in doubt, the largest total first: `first`, `first_error`, `total`, `total_error`, each
        error half the width of a 95 % confidence interval (bootstrap). ``attrs["deviation"]`` is the standard deviation
        of the figure's logarithm. What moves nothing is left out.

    Raises
    ------
    BadWorkload
        For an unknown figure, arrays, a number of draws that is no power of two, and where nothing is in doubt.
    RooflineError
        When SALib is not installed (``pip install SALib``).

    Notes
    -----
    Saltelli's sampling of a scrambled Sobol sequence and Jansen's estimators, by SALib (Saltelli et al., Comput. Phys.
    Commun. 181, 2010; Herman and Usher, JOSS 2017). The logarithm makes the indices those of relative changes, and the
    same for a time and its rate.

    Examples
    --------
    >>> import roofline as rl
    >>> shares = rl.indices("llama-3.1-8b", "artemis", dtype="fp16", draws=16)
    >>> sorted(shares.columns)
    ['first', 'first_error', 'total', 'total_error']
    """
    import pandas as pd

    if isinstance(draws, bool) or not isinstance(draws, int) or not 8 <= draws <= 2**16 or draws & (draws - 1):
        raise BadWorkload(f"indices: draws: expected a power of two from 8 to 65,536, found {shown(draws)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise BadWorkload(f"indices: seed: expected a whole number that is not negative, found {shown(seed)}")
    loaded = as_model(model)
    options = asked.settled("indices", loaded, options)
    base = asked.answer(loaded, as_chip(chip), options)
    if np.shape(base.time_s):
        raise BadWorkload("indices: expected one point, found arrays: sweep and estimate do arrays")
    figure = variables.figure_named("indices", base, figure)
    doubts = list(uncertainty.chances(base.chip, scenarios=scenarios))
    names = doubts + [MODEL_ERROR] * (model_error and bool(chance.error_weights(base)))

    def evaluate(uniform: Mapping[str, np.ndarray]) -> np.ndarray:
        return _logarithms(base, figure, uniform, scenarios, full=options.get("concurrency", 0) is None)

    if not names:
        raise BadWorkload(f"indices: nothing is in doubt: no figure of {base.chip.name} carries a range")
    found, deviation = analysed(names, evaluate, draws, seed)
    short = [name.partition(":")[2] if name != MODEL_ERROR else name for name in names]
    labels = [s if short.count(s) == 1 else name for s, name in zip(short, names, strict=True)]
    table = pd.DataFrame(found, index=pd.Index(labels, name="doubt"))
    table = table[(table["total"] != 0) | (table["first"] != 0)].sort_values("total", ascending=False, kind="stable")
    table.attrs = {"figure": figure, "deviation": deviation}
    return table


def analysed(
    names: list[str], evaluate: Callable[[Mapping[str, np.ndarray]], np.ndarray], draws: int, seed: int
) -> tuple[dict[str, np.ndarray], float]:
    """The Sobol indices of a function of independent, uniform numbers, and the standard deviation of its values.

    Parameters
    ----------
    names : list of str
    evaluate : callable
        From a column of numbers between 0 and 1 for each name to one value for each row.
    draws, seed
        As for :func:`indices`.
    """
    try:
        from SALib.analyze import sobol as analysis
        from SALib.sample import sobol as sampling
    except ImportError:
        raise RooflineError("indices: needs SALib: pip install SALib") from None

    problem = {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}
    points = sampling.sample(problem, draws, calc_second_order=False, seed=seed)
    parts = [points[start : start + _TOGETHER] for start in range(0, len(points), _TOGETHER)]
    values = np.concatenate([evaluate(dict(zip(names, part.T, strict=True))) for part in parts])
    deviation = float(np.std(values))
    if deviation <= 1e-12 * max(1.0, float(np.abs(values).max())):  # nothing moves it
        return {name: np.zeros(len(names)) for name in ("first", "first_error", "total", "total_error")}, 0.0
    found = analysis.analyze(problem, values, calc_second_order=False, seed=seed + 1)  # it takes 0 for no seed
    columns = {"first": "S1", "first_error": "S1_conf", "total": "ST", "total_error": "ST_conf"}
    return {name: np.asarray(found[theirs]) for name, theirs in columns.items()}, deviation


def _logarithms(base: Any, figure: str, uniform: Mapping[str, np.ndarray], scenarios: bool, full: bool) -> np.ndarray:
    """The logarithm of the figure as chance has it; of a server that is `full`, with as many requests as then fit."""
    from scipy.special import ndtri

    est = type(base)(base.model, uncertainty.settled(base.chip, uniform, scenarios=scenarios), base.request)
    est = est.full if full else est
    count = len(next(iter(uniform.values())))
    if MODEL_ERROR in uniform and figure in est.FIGURES:
        factors = np.exp(ndtri(np.clip(uniform[MODEL_ERROR], 1e-15, 1 - 1e-15)))
        values = est._figures_with_errors(factors)[figure]
    else:
        values = getattr(est, figure)
    logarithms: np.ndarray = np.log(np.broadcast_to(np.asarray(values, dtype=float), (count,)))
    return logarithms
