"""Evaluation in open loop: a policy predicts on recorded observations, and its actions are held against those recorded.

predictions  what a policy predicted in one recorded episode, and the file that keeps it
inference    the policy predicts in recorded episodes, whose observations share forward passes
record       the directory of an evaluation: what it holds, who writes to it, what it may be continued with
numbers      errors by dimension, position, task and episode, with intervals
verdict      the conclusion from open loop and closed loop together
evaluation   all of it in order
"""

from proctor.evaluation.open_loop.evaluation import (
    Beside,
    Outcome,
    PreparedOpenLoop,
    choose_policy,
    evaluate_open_loop,
    prepare_open_loop,
)

__all__ = ["Beside", "Outcome", "PreparedOpenLoop", "choose_policy", "evaluate_open_loop", "prepare_open_loop"]
