"""Questions about an estimate that rooms further along the arrow answer.

An estimate offers the method, and looks its answer up here by name; the face of the package says where each answer
lives, without loading it. So nothing before ``study`` knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Question -> what loads the function that answers it, whose first argument is the estimate.
ANSWERS: dict[str, Callable[[], Callable[..., Any]]] = {}
