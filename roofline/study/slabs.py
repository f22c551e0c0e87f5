"""The estimate of one slab: the request and the chip of it, what no plan can do in it, its figures."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from roofline.base.errors import BadWorkload, NotKnown, UnknownName
from roofline.estimates import rules, stacks
from roofline.estimates.estimate import estimate
from roofline.estimates.grids import varied
from roofline.estimates.inference import bound_names
from roofline.estimates.request import LANGUAGE, RECOMMENDATION, USUAL_RECOMMENDATION, usual_language
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.steady import SERVING, serve
from roofline.study import chance
from roofline.study.axes import Axis
from roofline.study.chance import SHARED_ERROR
from roofline.study.definition import Grid, Slab, kind_of, units_of
from roofline.work.parallel import Plan

#: What stands against a point, by code: word, and sentence. The last one is what a store holds before it is written.
WHY: dict[str, str] = {
    "none": "",
    **{rule.word: rule.text for rule in (*rules.LANGUAGE_RULES, *rules.RECOMMENDATION_RULES)},
    "dtype": "the chip has no rate for the dtype",
    "figure": "the chip does not have the figure",
    "stack": "the chip has no parameters of the software stack",
    "other": "the estimate is refused",
    "not_computed": "not computed yet",
}
_CODES = {word: code for code, word in enumerate(WHY)}

#: What a slab has among its options where the error of the model is drawn, and what each hangs on.
_ERRORS = {"error of the model": chance.OF_TIME, "error of the power": chance.OF_POWER}

#: Chip variants that are kept from slab to slab.
_KEPT = 64


class Slabs:
    """Answers a grid's slabs one by one. Its methods may run in several threads at a time.

    Attributes
    ----------
    grid : Grid
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._places = {i: place for place, i in enumerate(grid.order)}
        self._chips: dict[Any, Chip | str] = {}
        self._draws: dict[str, _Drawn] = {}

    def answer(self, slab: Slab) -> dict[str, Any]:
        """The variables of a slab, each a number or an array that broadcasts to the slab's shape.

        Returns
        -------
        dict
            Every figure of the grid (NaN where the point is impossible or the model's kind has no such figure), and
            `fits`, `bound`, `possible`, `why`: see :func:`roofline.study.grids.sweep`.
        """
        model, chip, options = self._asked(slab)
        if isinstance(chip, str):
            return self._hole(_CODES[chip])
        shape = tuple(slab[i].stop - slab[i].start for i in self.grid.order)
        found = self._part(model, chip, options, self._why(model, chip, options), shape)
        return {name: self._back(value) for name, value in found.items()}

    def anything_possible(self, slab: Slab) -> bool:
        """Whether the rules let any point of a slab pass."""
        model, chip, options = self._asked(slab)
        return not isinstance(chip, str) and not np.all(self._why(model, chip, options))

    def refuse(self, point: Slab) -> None:
        """Raise what an estimate of one impossible point raises.

        Raises
        ------
        BadWorkload, UnknownName
        """
        model, chip, options = self._asked(point, strict=True)
        self._estimate(model, chip, options)

    # What is asked ----------------------------------------------------------------------------------------------

    def _asked(self, slab: Slab, strict: bool = False) -> tuple[Any, Any, dict[str, Any]]:
        """The model, the chip and the options of a slab; a word in place of a chip that lacks a figure or a stack.

        Raises
        ------
        UnknownName
            For such a chip, where `strict`.
        """
        grid = self.grid
        sides = zip(grid.axes, slab, strict=True)
        words = {axis.name: axis.values[side.start] for axis, side in sides if not axis.numeric}
        model, chip = words.pop("model", grid.models[0]), words.pop("chip", grid.chips[0])
        asked = {**grid.fixed, **words, **self._sizes(slab)}
        known = self._known(model)
        options = {name: value for name, value in asked.items() if name in known}
        if grid.model_error and not strict:
            options |= {name: values[slab[-1]] for name, values in self._settled(chip).errors.items()}
        return model, self._chip(model, chip, options, slab, strict), options

    def _known(self, model: Any) -> tuple[str, ...]:
        """The options that apply to a model: those of its kind."""
        if not isinstance(model, LanguageModel):
            return RECOMMENDATION
        return SERVING if self.grid.serving else LANGUAGE

    def _sizes(self, slab: Slab) -> dict[str, Any]:
        """The numeric options in the slab, each an array along its own axis, or a number."""
        return {
            axis.name: self._along(axis.values[slab[i]], i)
            for i, axis in enumerate(self.grid.axes)
            if axis.kind == "size"
        }

    def _chip(self, model: Any, chip: Chip, options: dict[str, Any], slab: Slab, strict: bool) -> Chip | str:
        """The chip in the slab: drawn, on its stack, with its figures changed; or the word for what it lacks.

        It takes the stack out of the options: the chip is on it.
        """
        software = {"stack": options.pop("stack", None), "weight_dtype": options.get("weight_dtype")}
        sides = [(i, axis, slab[i]) for i, axis in enumerate(self.grid.axes) if axis.kind in ("figure", "draw")]
        key = (model.name, chip.name, *software.values(), *((side.start, side.stop) for *_, side in sides))
        found = self._chips.get(key)
        if found is None or strict:
            try:
                found = self._variant(model, chip, software, sides)
            except _Lacking as lacking:
                if strict:
                    raise lacking.error from None
                found = lacking.word
            if len(self._chips) >= _KEPT:
                self._chips.clear()
            self._chips[key] = found
        return found

    def _variant(self, model: Any, chip: Chip, software: dict[str, Any], sides: list[tuple[int, Axis, slice]]) -> Chip:
        if self.grid.draws:
            chip = _drawn(self._settled(chip).chip, sides[-1][2])
        try:
            chip, _ = stacks.chosen(model, chip, software)
        except UnknownName as error:
            raise _Lacking("stack", error) from None
        changes = dict(self.grid.changes)
        try:
            for i, axis, side in sides:
                if axis.kind == "figure":
                    changes[axis.name] = self._value(chip[axis.name], axis, side, i)
            return chip.what_if(changes) if changes else chip
        except UnknownName as error:
            raise _Lacking("figure", error) from None

    def _settled(self, chip: Chip) -> _Drawn:
        """The chip with every draw of what is uncertain about it, and the errors of the model of each draw.

        The draws are points of one scrambled Sobol sequence over all that is uncertain about any of the chips, so that
        what two of them have in common is drawn in common.
        """
        found = self._draws.get(chip.name)
        if found is None:
            errors = _ERRORS if self.grid.model_error else {}
            known = {name for one in self.grid.chips for name in uncertainty.chances(one)}
            known |= {n for one in self.grid.chips for parts in errors.values() for n in chance.error_names(one, parts)}
            names = sorted(known)
            points = uncertainty.sobol(len(names), self.grid.draws, self.grid.seed) if names else np.zeros((0, 0))
            uniform = dict(zip(names, points.T, strict=True))
            after = len(self._places) - 1 - self._places[len(self._places) - 1]  # axes that follow that of the draws
            scores = {name: chance.error_scores(chip, parts, uniform, SHARED_ERROR) for name, parts in errors.items()}
            found = _Drawn(
                uncertainty.settled(chip, uniform, after) if names else chip,
                {name: np.exp(score).reshape(-1, *(1,) * after) for name, score in scores.items()},
            )
            self._draws[chip.name] = found
        return found

    def _value(self, own: Any, axis: Axis, side: slice, i: int) -> Any:
        """What a figure is in the slab: the values of its axis, or as many times the chip's own."""
        assert axis.relative is not None
        values, relative = self._along(axis.values[side], i), self._along(axis.relative[side], i)
        if np.ndim(relative) == 0:
            return values * own if relative else values
        return np.where(relative, values * own, values)

    def _along(self, values: np.ndarray, i: int) -> Any:
        """The values along the grid's i-th axis, where a slab has it; a plain number of one value."""
        if len(values) == 1:
            return _whole(values[0].item())
        return values.reshape([-1 if place == self._places[i] else 1 for place in range(len(self._places))])

    def _back(self, value: Any) -> Any:
        """A variable of a slab with the axes in the grid's order."""
        axes = len(self._places)
        if not np.ndim(value) or axes < 2:
            return value
        whole = np.reshape(value, (1,) * (axes - np.ndim(value)) + np.shape(value))
        return whole.transpose([self._places[i] for i in range(axes)])

    # What no plan can do ----------------------------------------------------------------------------------------

    def _why(self, model: Any, chip: Chip, options: dict[str, Any]) -> Any:
        """The code of what stands against each point: a number, or an array over the axes that it depends on."""
        own: tuple[rules.Rule, ...] = rules.RECOMMENDATION_RULES
        asked: dict[str, Any] = {**USUAL_RECOMMENDATION, **options}
        if isinstance(model, LanguageModel):
            own, asked = rules.LANGUAGE_RULES, {**usual_language(model), **options}
            asked["plan"] = Plan(asked["tp"], asked["pp"], asked["ep"], asked["dp"])
        if self.grid.serving:  # without a number, as many requests as there is room for
            concurrency = options.get("concurrency")
            asked["batch"] = np.inf if concurrency is None else concurrency
        if options.get("dtype") is not None and not _has_rate(chip, options["dtype"]):
            return _CODES["dtype"]
        why: Any = 0
        for rule in reversed(own):
            broken = rule.broken(model, chip, asked)
            why = (
                np.where(broken, _CODES[rule.word], why)
                if isinstance(broken, np.ndarray)
                else (_CODES[rule.word] if broken else why)
            )
        return why

    # Figures ----------------------------------------------------------------------------------------------------

    def _part(
        self, model: Any, chip: Chip, options: dict[str, Any], why: Any, shape: tuple[int, ...]
    ) -> dict[str, Any]:
        """The variables where some points may be impossible: the others are estimated as a list of points."""
        if not np.any(why):
            return self._figures(model, chip, options, shape)
        if np.all(why):
            return self._hole(np.asarray(why, dtype=np.uint8))
        codes = np.broadcast_to(np.asarray(why, dtype=np.uint8), shape)
        fine = codes == 0
        pick = _picking(fine)
        picked = self._figures(model, _each(chip, pick), {n: pick(v) for n, v in options.items()}, (int(fine.sum()),))
        found = {}
        for name, hole in self._hole(codes).items():
            found[name] = np.broadcast_to(hole, shape).copy()
            found[name][fine] = picked[name]
        return found

    def _figures(self, model: Any, chip: Chip, options: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """The variables where every point is possible, as far as the rules tell."""
        try:
            est = self._estimate(model, chip, {n: value for n, value in options.items() if n not in _ERRORS})
            known = units_of(kind_of(model, self.grid.serving))
            drawn = self._with_errors(est, *(options[name] for name in _ERRORS)) if self.grid.model_error else {}
            found = {
                name: drawn[name] if name in drawn else _figure(est, name) if name in known else np.nan
                for name in self.grid.figures
            }
            return {**found, "fits": est.fits, "bound": self._codes(est), "possible": True, "why": np.uint8(0)}
        except (BadWorkload, UnknownName):
            return self._halves(model, chip, options, shape)

    def _with_errors(self, est: Any, of_time: np.ndarray, of_power: np.ndarray) -> dict[str, Any]:
        """Those of the figures that the errors of a draw move."""
        made = est._figures_with_errors(of_time)
        found = {name: made[name] for name in self.grid.figures if name in made}
        if "time_s" in self.grid.figures and "latency_s" in made:
            found["time_s"] = made["latency_s"]
        if not self.grid.figures.keys().isdisjoint(est.EXTRA):
            with contextlib.suppress(NotKnown):
                found |= est._extra_with_errors(made[est.RATE], of_power)
        return found

    def _estimate(self, model: Any, chip: Chip, options: dict[str, Any]) -> Any:
        if not isinstance(model, LanguageModel) and options.get("placement") is None:
            options = {
                **options,
                "placement": "even",
            }  # of a grid's points none is placed apart, unless one asks for it
        return (serve if self.grid.serving else estimate)(model, chip, check=False, **options)

    def _halves(self, model: Any, chip: Chip, options: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """The same where a refusal came from further inside: by halves, down to the points that are refused."""
        size = int(np.prod(shape))
        if size == 1:
            return self._hole(_CODES["other"])
        every = np.arange(size).reshape(shape)
        found = {name: np.broadcast_to(hole, shape).copy() for name, hole in self._hole(0).items()}
        for half in (every < size // 2, every >= size // 2):
            pick = _picking(half)
            part = {name: pick(value) for name, value in options.items()}
            for name, values in self._figures(model, _each(chip, pick), part, (int(half.sum()),)).items():
                found[name][half] = values
        return found

    def _codes(self, est: Any) -> Any:
        """What bounds each point, as its place among the grid's bounds."""
        places = np.array([self.grid.bounds.index(name) for name in bound_names(est.chip)], dtype=np.uint8)
        if hasattr(est, "bound_codes"):
            return places[est.bound_codes]
        codes = np.zeros(np.shape(est.bound), dtype=np.uint8)
        for code, name in enumerate(self.grid.bounds):
            codes[np.equal(est.bound, name)] = code
        return codes

    def _hole(self, why: Any) -> dict[str, Any]:
        """The variables of points that are impossible."""
        empty: dict[str, Any] = dict.fromkeys(self.grid.figures, np.nan)
        none = np.uint8(len(self.grid.bounds))
        return {**empty, "fits": False, "bound": none, "possible": False, "why": np.asarray(why, dtype=np.uint8)}


class _Drawn(NamedTuple):
    """Every draw of a chip: what is uncertain about it, and the errors of the model, as factors exp(z)."""

    chip: Chip
    errors: dict[str, np.ndarray]


class _Lacking(Exception):
    """A chip does not have what is asked of it: a stack or a figure."""

    def __init__(self, word: str, error: UnknownName) -> None:
        super().__init__(word)
        self.word, self.error = word, error


def _figure(est: Any, name: str) -> Any:
    """A figure of an estimate; a hole where something is missing for it, such as a price."""
    try:
        return getattr(est, name)
    except NotKnown:
        return np.nan


def _whole(value: Any) -> Any:
    """A float that is whole as an int: 8 and 8.0 are one degree."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _drawn(chip: Chip, side: slice) -> Chip:
    """Some draws of a chip that was sampled; one of them is plain numbers."""
    if not varied(chip):
        return chip
    if side.stop - side.start > 1:
        return _changed(chip, lambda value: value[side])
    return _changed(chip, lambda value: float(value[side].item()))


def _changed(chip: Chip, change: Callable[[np.ndarray], Any]) -> Chip:
    """The chip with every figure that is an array changed."""
    numbers, defaults = (
        {
            path: dataclasses.replace(n, value=change(n.value)) if isinstance(n.value, np.ndarray) else n
            for path, n in figures.items()
        }
        for figures in (chip.numbers, chip.defaults)
    )
    return dataclasses.replace(chip, numbers=numbers, defaults=defaults)


def _picking(fine: np.ndarray) -> Callable[[Any], Any]:
    """A function from an array that broadcasts to the mask's shape to its values where the mask holds, in one row."""

    def pick(value: Any) -> Any:
        return np.broadcast_to(value, fine.shape)[fine] if isinstance(value, np.ndarray) else value

    return pick


def _each(chip: Chip, pick: Callable[[Any], Any]) -> Chip:
    return _changed(chip, pick) if varied(chip) else chip


def _has_rate(chip: Chip, dtype: str) -> bool:
    try:
        chip.peak(dtype)
    except BadWorkload:
        return False
    return True
