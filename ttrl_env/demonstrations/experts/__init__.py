"""Scripted experts: they solve tasks from the simulator's state and provide a policy's first demonstrations.

An expert is a function of the present observation and state only: it has no plan and no clock. It can
therefore act from any state that noise or a half-trained policy leads to. This makes its actions usable as
labels at every visited state (:mod:`ttrl_env.demonstrations`).

The predicate of a task's goal and its arguments select the skill, not the task itself. For every goal
``on(a, b)`` or ``in(a, b)``, for example, the expert picks ``a`` up and puts it on or in ``b``.
"""

from ttrl_env.demonstrations.experts.choice import Expert, find_skill, has_skill, make_expert

__all__ = ["Expert", "find_skill", "has_skill", "make_expert"]
