"""What a tower takes in, images or sound, and how many vectors become of it inside the tower and behind it."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric


@dataclass(frozen=True, slots=True)
class Intake:
    """How large an image, or how long a piece of sound, a tower reads as how many vectors.

    Attributes
    ----------
    kind : str
        ``"image"`` or ``"audio"``.
    cell : float
        Pixels of a patch's side; seconds of a step of sound.
    usual : float
        Pixels of an image's side, or seconds of a piece, where nobody says.
    fixed : bool
        Whether every image is brought to the usual size, and every piece of sound filled up to a multiple of it.
    merged : int
        Patches along the side of a square, or steps in a row, that become one token of the language model.
    more : int
        Vectors beside the patches inside the tower: a class token.
    tokens : int
        Tokens of a fixed image where they do not follow from the rest; 0 where they do.
    """

    kind: str
    cell: float
    usual: float
    fixed: bool = False
    merged: int = 1
    more: int = 0
    tokens: int = 0

    def vectors(self, size: Numeric) -> Numeric:
        """Vectors inside the tower, of an image of `size` x `size` pixels or of `size` seconds of sound."""
        if self.kind == "audio":
            whole = numeric.ceil_div(size, self.usual) * self.usual if self.fixed else size
            return numeric.maximum(1, numeric.ceil_div(whole, self.cell))
        # Sides are cut to whole squares of patches.
        side = self.usual // self.cell if self.fixed else numeric.ceil_div(size, self.cell * self.merged) * self.merged
        return side**2 + self.more

    def handed_on(self, size: Numeric) -> Numeric:
        """Tokens that the language model reads of it."""
        if self.tokens:
            return self.tokens * numeric.ceil_div(size, self.usual) if self.kind == "audio" else self.tokens
        per_token = self.merged if self.kind == "audio" else self.merged**2
        return numeric.maximum(1, (self.vectors(size) - self.more) // per_token)
