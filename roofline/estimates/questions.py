"""Questions about a result that rooms further along the arrow answer.

A result offers the method, and looks its answer up here by name; the face of the package says where each answer
lives, without loading it. So no room knows of one further along: an estimate of no study, a study of no picture.
"""

from __future__ import annotations

from collections.abc import Callable

#: Question -> what loads the function that answers it, whose first argument is the result.
ANSWERS: dict[str, Callable[[], Callable[..., object]]] = {}
