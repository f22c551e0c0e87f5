"""What the arguments of an estimate have to agree on, at the edge and beyond it, and what is said then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.estimates import stacks
from roofline.estimates.rules import LANGUAGE_RULES, RECOMMENDATION_RULES, Rule, check
from roofline.hardware.number import Number
from roofline.work.parallel import Plan
from roofline.work.splittable import Heads, Share
from tests.plain import plain
from tests.small import DENSE, ROUTED

SMALL = replace(DENSE, max_positions=100)
ALONE = replace(plain(), name="alone", numbers={p: n for p, n in plain().numbers.items() if not p.startswith("links.")})
LANGUAGE = {rule.word: rule for rule in LANGUAGE_RULES}
RECOMMENDATION = {rule.word: rule for rule in RECOMMENDATION_RULES}
ASKED: dict[str, Any] = {"batch": 8, "prompt": 60, "output": 40, "prefix": 0, "plan": Plan(), "devices": 1}


def broken(rule: Rule, chip: rl.Chip = ALONE, model: Any = SMALL, **asked: Any) -> Any:
    return rule.broken(model, chip, {**ASKED, **asked})


def said(rule: Rule, chip: rl.Chip = ALONE, model: Any = SMALL, **asked: Any) -> str:
    with pytest.raises(rl.BadWorkload) as error:
        rule.refuse(model, chip, {**ASKED, **asked})
    return str(error.value)


def test_positions_are_those_of_prompt_and_output() -> None:
    rule = LANGUAGE["positions"]
    assert not broken(rule, output=40)
    assert broken(rule, output=41)
    np.testing.assert_array_equal(broken(rule, prompt=np.array([60, 61])), [False, True])
    words = "two-layers was made for 100 positions; prompt + output asks for {}"
    assert said(rule, output=41) == words.format(101)
    assert said(rule, prompt=np.array([61, 99, 60]), output=np.array([40])) == words.format(139)


def test_a_prompt_has_a_new_token() -> None:
    rule = LANGUAGE["prefix"]
    assert not broken(rule, prefix=59)
    assert broken(rule, prefix=60)
    assert said(rule, prefix=60) == "prefix: at least one token of the prompt is new, found prefix=60 of prompt=60"


def test_every_replica_has_a_sequence() -> None:
    rule = LANGUAGE["replicas"]
    assert not broken(rule, plan=Plan(dp=8))
    assert broken(rule, plan=Plan(dp=9))
    words = "batch: 9 data-parallel replicas need at least one sequence each, found batch=8"
    assert said(rule, plan=Plan(dp=9)) == words
    assert not broken(RECOMMENDATION["replicas"], devices=8)
    assert broken(RECOMMENDATION["replicas"], devices=9)
    assert said(RECOMMENDATION["replicas"], devices=9) == "batch: 9 chips need at least one sample each, found batch=8"


@pytest.mark.parametrize("plan", [Plan(tp=2), Plan(pp=2), Plan(dp=2)])
def test_a_chip_without_links_is_alone(plan: Plan) -> None:
    rule = LANGUAGE["links"]
    assert not broken(rule)
    assert broken(rule, plan=plan)
    assert not broken(rule, plain(), plan=plan)
    assert said(rule, plan=plan) == "alone describes no link to another chip: tp, pp, ep and dp must be 1"
    assert not broken(RECOMMENDATION["links"], devices=1)
    assert broken(RECOMMENDATION["links"], devices=2)
    assert not broken(RECOMMENDATION["links"], plain(), devices=2)
    assert said(RECOMMENDATION["links"], devices=2) == "alone describes no link to another chip: devices must be 1"


def test_a_model_that_answers_in_one_pass_makes_no_tokens() -> None:
    rule, encoder = LANGUAGE["output"], replace(SMALL, decodes=False)
    assert not broken(rule, output=7)
    assert not broken(rule, model=encoder, output=0)
    assert broken(rule, model=encoder, output=1)
    assert said(rule, model=encoder, output=7) == (
        "output: two-layers answers in one pass and makes no tokens; leave output out, found 7"
    )


def test_plans_along_axes_are_judged_where_they_stand() -> None:
    """Four heads and two layers: tp of 3 splits no heads, pp of 3 leaves a stage without a layer."""
    rule = LANGUAGE["plan"]
    assert not broken(rule, plan=Plan(tp=4, pp=2))
    assert broken(rule, plan=Plan(tp=3))
    grid = broken(rule, plan=Plan(tp=np.array([[1], [3], [4]]), pp=np.array([1, 2])))
    np.testing.assert_array_equal(grid, [[False, False], [True, True], [False, False]])
    experts = broken(rule, model=ROUTED, plan=Plan(tp=np.array([1, 4]), ep=np.array([1, 4])))
    np.testing.assert_array_equal(experts, [False, False])
    assert "heads" in said(rule, plan=Plan(tp=3))


def test_the_first_broken_rule_speaks() -> None:
    check(LANGUAGE_RULES, SMALL, ALONE, ASKED)
    with pytest.raises(rl.BadWorkload, match=r"^prefix: "):
        check(LANGUAGE_RULES, SMALL, ALONE, {**ASKED, "prefix": 60, "output": 41})
    with pytest.raises(rl.BadWorkload, match="asks for 101"):
        check(LANGUAGE_RULES, SMALL, ALONE, {**ASKED, "output": np.array([1, 41])})


# What splits evenly ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "shared", "degrees"),
    [(8, 2, (1, 2, 4, 8)), (12, 3, (1, 3, 6, 12)), (12, 4, (1, 2, 4, 12)), (6, 1, (1, 2, 3, 6))],
)
def test_heads_that_chips_share(heads: int, shared: int, degrees: tuple[int, ...]) -> None:
    """Heads are dealt out evenly, and so are the groups, or each group lies on as many chips as any other."""
    one = Heads(heads, shared, "")
    assert tuple(tp for tp in range(1, 30) if one.split_by(tp)) == degrees


def test_shares_of_whole_blocks() -> None:
    """12 columns in blocks of 4: three chips have one each. One chip may have part of a block; experts stay whole."""
    assert [tp for tp in range(1, 13) if Share("down", 12, 4, False).split_by(tp, 1)] == [1, 3]
    assert Share("down", 13, 4, False).split_by(1, 1)
    assert not Share("down", 12, 4, False).split_by(4, 4)
    experts = Share("moe", 12, 4, True)
    assert [tp for tp in range(1, 13) if experts.split_by(tp, 2)] == [1, 2, 3, 6, 7]
    assert experts.split_by(4, 4)


# Stacks ---------------------------------------------------------------------------------------------------------------


def on_stacks(**default: str) -> rl.Chip:
    """A chip with two stacks: one that times operators, one of which only the memory is known."""
    numbers = {
        "stack.timed.efficiency.gemm.launch_s": Number(1e-6, "time", "derived", "round"),
        "stack.held.serving.fraction": Number(0.8, "fraction", "derived", "round"),
    }
    chip = replace(plain(), numbers={**plain().numbers, **numbers})
    return replace(chip, default_stack={kind: {"value": name, "note": ""} for kind, name in default.items()})


def test_a_stack_that_is_named_is_taken_and_told() -> None:
    chip = on_stacks(language="timed")
    assert stacks.chosen(DENSE, chip, {"stack": "timed"})[1] == ()
    assert stacks.chosen(DENSE, chip, {"stack": "plain"})[1] == ()
    laid, told = stacks.chosen(DENSE, chip, {"stack": "held"})
    assert laid["serving.fraction"] == 0.8
    assert told == (
        "software: held, of which only the memory that it sets aside is known; operators take the chip's own figures",
    )
    assert stacks.chosen(DENSE, chip, {"stack": "timed+held"})[1] == ()
    found, told = stacks.chosen(DENSE, chip, {})
    assert found.stack == "timed"
    assert told == ("software: timed, the best known of this chip; stack='plain' for the chip's own figures",)
    assert stacks.chosen(DENSE, plain(), {}) == (plain(), ())
    with pytest.raises(rl.BadWorkload, match=r"stack: expected one software stack, 'plain' for none .*found 3"):
        stacks.chosen(DENSE, chip, {"stack": 3})


def test_the_best_known_stack_depends_on_heads_and_experts() -> None:
    chip = on_stacks(language="timed", multi_head="held", fp4_experts="held")
    many = replace(DENSE, layers=(replace(DENSE.layers[0], mixer=replace(DENSE.layers[0].mixer, kv_heads=4)),))
    assert stacks.best_known(DENSE, chip) == "timed"
    assert stacks.best_known(many, chip) == "timed+held"
    assert stacks.best_known(ROUTED, chip, "fp4") == "timed+held"
    assert stacks.best_known(ROUTED, chip, "MXFP4") == "timed+held"
    assert stacks.best_known(ROUTED, chip, "int4") == "timed"
    assert stacks.best_known(ROUTED, chip) == "timed"
    assert stacks.best_known(DENSE, chip, "fp4") == "timed"  # no experts
    assert stacks.best_known(rl.load_model("gpt-oss-20b"), chip) == "timed+held"
    assert stacks.best_known(many, on_stacks(multi_head="held")) == "held"
    assert stacks.best_known(DENSE, chip.on_stack("held")) == ""
    assert stacks.best_known(rl.load_model("dlrm-v2"), chip) == ""
