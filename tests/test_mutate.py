"""The mutation tester: which errors it puts where, and that a source stays a program."""

from __future__ import annotations

import ast

from benchmarks import mutate

SOURCE = b'''"""2 + 2 in a docstring."""
import math

@decorated(1 + 1)
def cost(a: 1 + 1, b=0, name="a") -> 1 + 1:
    """Price, \xc3\xa9 of 3 * 4."""
    \xc3\xa9 = a * floor(b)
    \xc3\xa9 += math.ceil(a)
    if not a < b and b:
        raise ValueError(f"{a + 1}" + name)
    return max(\xc3\xa9 - b, 0.5)
'''


def texts(kind: str) -> list[tuple[int, str, str]]:
    return [(m.line, m.before, m.after) for m in mutate.mutants("x.py", SOURCE) if m.kind == kind]


def test_operators_comparisons_and_functions_change_places() -> None:
    assert texts("operator") == [
        (7, "a * floor(b)", "(a / floor(b))"),
        (8, "\xe9 += math.ceil(a)", "\xe9 -= math.ceil(a)"),
        (11, "\xe9 - b", "(\xe9 + b)"),
    ]
    assert texts("comparison") == [(9, "a < b", "(a <= b)")]
    assert texts("and, or") == [(9, "not a < b and b", "(not a < b or b)")]
    assert texts("no not") == [(9, "not a < b", "(a < b)")]
    assert texts("other function") == [
        (8, "math.ceil(a)", "(math.floor(a))"),  # no `ceil` for a bare floor
        (11, "max(\xe9 - b, 0.5)", "(min(\xe9 - b, 0.5))"),
    ]
    assert texts("first argument") == [
        (7, "floor(b)", "(b)"),
        (8, "math.ceil(a)", "(a)"),
        (11, "max(\xe9 - b, 0.5)", "(\xe9 - b)"),
    ]


def test_terms_are_dropped_and_numbers_changed() -> None:
    assert texts("drop the second") == [(7, "a * floor(b)", "(a)"), (11, "\xe9 - b", "(\xe9)")]
    assert texts("constant + 1") == [(5, "0", "1"), (11, "0.5", "1.5")]
    assert texts("constant x 2") == [(11, "0.5", "1.0")]  # twice nothing is nothing


def test_annotations_decorators_and_messages_stay() -> None:
    assert {mutant.line for mutant in mutate.mutants("x.py", SOURCE)} == {5, 7, 8, 9, 11}


def test_every_mutant_is_a_program_of_its_own() -> None:
    programs = {ast.dump(ast.parse(mutant.applied(SOURCE))) for mutant in mutate.mutants("x.py", SOURCE)}
    assert len(programs) == len(mutate.mutants("x.py", SOURCE))
    assert ast.dump(ast.parse(SOURCE)) not in programs


def test_a_file_is_tested_by_what_begins_like_it() -> None:
    concerned = mutate.concerned("kernels/gemm.py", mutate.ROOT)
    assert concerned[0] == "tests/test_derivations_gemm.py"
    assert "tests/test_laws.py" in concerned
    assert mutate.concerned("roofline/show/plot.py", mutate.ROOT) == ["tests"]
