"""The mutation tester: which errors it puts where, and that a source stays a program."""

from __future__ import annotations

import ast
from typing import Any

from benchmarks import mutate, mutation

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
    asked = mutate.concerned("kernels/gemm.py", mutate.ROOT)
    assert asked == mutate.concerned("kernels/reference/gemm.py", mutate.ROOT)
    assert {"tests/test_derivations_gemm.py", "tests/test_derivations_rates.py", "tests/test_laws.py"} <= set(asked)
    assert "tests/test_plot.py" in mutate.concerned("roofline/show/plot.py", mutate.ROOT)


BEFORE, AFTER = (
    "LIMIT = 1\ndef f(x):\n    return [y + 1 for y in x]\n",
    "LIMIT = 1\ndef f(x):\n    return [y - 1 for y in x]\n",
)


def test_a_changed_function_is_found_and_changed_where_it_lives() -> None:
    """In Python 3.11 a comprehension is a function of its own."""
    before, after = compile(BEFORE, "x.py", "exec"), compile(AFTER, "x.py", "exec")
    names = {one.co_qualname for one, _ in mutation.changed(before, after) or []}
    assert names
    assert all(name.startswith("f") for name in names)
    scope: dict[str, Any] = {}
    exec(before, scope)
    mutation.transplant([scope["f"]], before, after)
    assert scope["f"]([1, 2]) == [0, 1]


def test_what_runs_at_import_is_told_apart() -> None:
    before = compile(BEFORE, "x.py", "exec")
    assert mutation.changed(before, compile(BEFORE.replace("LIMIT = 1", "LIMIT = 2"), "x.py", "exec")) is None
    assert mutation.changed(before, before) == []


def test_the_quickest_tests_that_reach_a_line_are_asked() -> None:
    lines = {"a": {"x.py": {"f": [1, 2]}}, "b": {"x.py": {"f": [2], "g": [1]}}, "c": {"x.py": {"g": [1]}}, "d": {}}
    reach = mutation.Reach({"a": 3.0, "b": 1.0, "c": 2.0, "d": 0.1}, lines)
    assert reach.tests("x.py", [("f", range(2, 3))], 10) == ["b", "a"]
    assert reach.tests("x.py", [("f", range(2))], 2) == ["a"]
    assert reach.tests("x.py", [("f", range(2, 3))], 2) == ["b"]
    assert reach.tests("x.py", None, 10) == ["b", "c", "a"]
    assert reach.tests("y.py", [("f", range(9))], 10) == reach.tests("x.py", [("f", range(5, 9))], 10) == []


def test_the_statement_around_a_mutant() -> None:
    source = b"if a + 1:\n    b = (2 +\n         c * 3)\nd = 4\n"
    assert {m.before: m.statement for m in mutate.mutants("x.py", source) if m.kind == "operator"} == {
        "a + 1": (1, 1),
        "2 +\n         c * 3": (2, 3),
        "c * 3": (2, 3),
    }


def test_the_verdict_is_the_last_that_was_told() -> None:
    assert mutation.noticed_by(["a", "b", "passed"], "import") == ""
    assert mutation.noticed_by(["a", "b", "failed"], "import") == "b"
    assert mutation.noticed_by(["a", "b"], "import") == "cut off in b"
    assert mutation.noticed_by([], "import") == "import"
    assert mutation.noticed_by(mutation.forked(lambda told: told("passed")), "import") == ""


def test_a_judged_mutant_is_found_by_its_line_and_its_change() -> None:
    drawn = mutate.mutants("x.py", SOURCE)
    entry = {"file": "x.py", "line": "return max(\xe9 - b, 0.5)", "before": "0.5", "after": "1.0", "why": "because"}
    assert [(m.line, m.kind, why) for m, why in mutate.judged([entry], drawn, SOURCE).items()] == [
        (11, "constant x 2", "because")
    ]
    for other in ({"line": "return 0.5"}, {"after": "1.5 "}, {"file": "y.py"}):
        assert mutate.judged([{**entry, **other}], drawn, SOURCE) == {}
    keys = {"file", "line", "before", "after", "why"}
    assert all(set(one) == keys and all(one.values()) for one in mutate.judgements())
