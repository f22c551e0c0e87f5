"""What a state of the page comes to: an estimate for each of its chips, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roofline.base.errors import DoesNotFit, RooflineError
from roofline.catalog.load import Model
from roofline.estimates.estimate import estimate
from roofline.explorer.state import Pick, State
from roofline.explorer.stock import Stock
from roofline.hardware.chip import Chip
from roofline.show.words import Estimate

#: What the chips are called beside their names, in the order of the page.
LETTERS = "ABCD"

#: What a what-if of any size is called in a label.
_CHANGED = "changed"


@dataclass(frozen=True)
class Column:
    """One of the chips side by side with what comes of it.

    Attributes
    ----------
    label : str
        What it is called where there is little room; no two are the same.
    chip : Chip or None
        With its stack, if one was named, and its what-ifs; None where it cannot be had.
    est : Estimate or None
        None where the question cannot be answered.
    problem : str
        Why there is no estimate, or that the model does not fit and what would; empty where all is well.
    """

    label: str
    pick: Pick
    chip: Chip | None
    est: Estimate | None
    problem: str = ""

    @property
    def fits(self) -> bool:
        """Whether there are figures to show."""
        return self.est is not None and not self.problem


@dataclass(frozen=True)
class Answer:
    """A state with its model and a column for each of its chips.

    Attributes
    ----------
    model : LanguageModel, Recommender or None
        None where it cannot be had; `problem` says why.
    """

    state: State
    model: Model | None
    columns: tuple[Column, ...]
    problem: str = ""

    @property
    def focused(self) -> Column:
        """The column whose figures are under the sliders."""
        return self.columns[self.state.focus]

    @property
    def shown(self) -> list[Column]:
        """The columns that have figures."""
        return [column for column in self.columns if column.fits]


def chip_of(pick: Pick, stock: Stock) -> Chip:
    """The chip of a pick: loaded, on its stack where one is named, with its what-ifs.

    Raises
    ------
    UnknownName, BadDescriptor, BadWorkload
    """
    chip = stock.chip(pick.chip)
    chip = chip.on_stack(pick.stack) if pick.stack else chip
    return chip.what_if(dict(pick.changes)) if pick.changes else chip


def answer(state: State, stock: Stock) -> Answer:
    """The estimates of a state; what goes wrong with one of the chips is told in its column."""
    labels = _labels(state.picks)
    try:
        model = stock.model(state.model)
    except RooflineError as error:
        columns = tuple(Column(label, pick, None, None) for label, pick in zip(labels, state.picks, strict=True))
        return Answer(state, None, columns, str(error))
    found = [_column(label, pick, model, state, stock) for label, pick in zip(labels, state.picks, strict=True)]
    return Answer(state, model, tuple(found))


def _column(label: str, pick: Pick, model: Model, state: State, stock: Stock) -> Column:
    try:
        chip = chip_of(pick, stock)
    except RooflineError as error:
        return Column(label, pick, None, None, str(error))
    asked: dict[str, Any] = state.asked
    try:
        est: Estimate = estimate(model, chip, check=False, **asked)
        if not est.fits:
            est_of_refused = est
            try:
                estimate(model, chip, **asked)
            except DoesNotFit as error:
                return Column(label, pick, chip, est_of_refused, str(error))
    except RooflineError as error:
        return Column(label, pick, chip, None, str(error))
    return Column(label, pick, chip, est)


def _labels(picks: tuple[Pick, ...]) -> list[str]:
    """Names that tell the columns apart: the chip's, its stack and that it is changed where two would be the same."""
    chips = [one.chip for one in picks]
    told = (" ".join(filter(None, [one.chip, one.stack, _CHANGED * bool(one.changes)])) for one in picks)
    names = [name if chips.count(chip) > 1 else chip for chip, name in zip(chips, told, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{LETTERS[i]} {name}" for i, name in enumerate(names)]
    return names
