"""What hybrids are said to save over long contexts, beside what is estimated: writes the table of ``docs/hybrids.md``.

``python benchmarks/hybrids.py`` replaces the table in the page; ``--print`` prints it. The claims lie in
``tests/hybrids.py``, where those that hold are tests.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.hybrids import rows

PAGE = Path(__file__).parent.parent / "docs" / "hybrids.md"


def main() -> None:
    """Write the table, or print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--print", action="store_true", help="print the table and leave the page alone")
    given = parser.parse_args()
    table = list(rows())
    if given.print:
        print("\n".join(table))
        return
    lines = PAGE.read_text().splitlines()
    first = lines.index(table[0])
    last = next(i for i in range(first, len(lines) + 1) if i == len(lines) or not lines[i].startswith("|"))
    PAGE.write_text("\n".join([*lines[:first], *table, *lines[last:]]) + "\n")


if __name__ == "__main__":
    main()
