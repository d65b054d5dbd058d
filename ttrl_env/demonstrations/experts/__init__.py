"""Scripted experts: tasks solved from the simulator's state, to give a policy its first demonstrations.

An expert is a function of the present observation and state only. It keeps no plan and no clock, so
it knows what to do wherever noise, or a half-trained policy, has taken the robot; that is what makes
its actions usable as labels at every visited state (:mod:`ttrl_env.demonstrations`).

A skill is chosen by the predicate of the task's goal and its arguments, not by the task: whatever is to
be on or in something is picked up and put there.
"""

from ttrl_env.demonstrations.experts.choice import Expert, find_skill, has_skill, make_expert

__all__ = ["Expert", "find_skill", "has_skill", "make_expert"]
