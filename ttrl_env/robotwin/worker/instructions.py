"""What the robot is told, by RoboTwin's own descriptions."""

from __future__ import annotations

from typing import Any


def instruction(name: str, task: Any, seed: int) -> str:
    """One of the runtime's "seen" instructions for the episode that has begun: a function of task and seed.

    The runtime fills its templates with what ``get_info()`` says: objects, and the arm that its expert uses.

    - In most tasks it reads poses.
    - In ``open_laptop``, ``place_object_scale`` and ``put_object_cabinet`` it also sets fields that
      ``check_success`` reads, from the first poses, as the expert does. So it must be called at the start.
    - In ``stack_blocks_three``, ``blocks_ranking_size`` and ``place_bread_basket`` it plays the expert's
      episode. It is not called there; the same answers are read from the first poses.
    - In ``handover_block`` it is empty, and the task's templates have no blanks.

    Raises:
        RuntimeError: no template fits.
    """
    from robotwin.description import generate_episode_descriptions

    info = _PLAYED[name](task) if name in _PLAYED else task.get_info()
    texts = generate_episode_descriptions(name, [info], 1, seed)
    if not texts or not texts[0]["seen"]:
        raise RuntimeError(f"RoboTwin has no instruction for {name} with {info}")
    return str(texts[0]["seen"][0])


def _stack_blocks_three(task: Any) -> dict[str, str]:
    return _blocks(task, ("red block", "green block", "blue block"))


def _blocks_ranking_size(task: Any) -> dict[str, str]:
    return _blocks(task, ("large block", "medium block", "small block"))


def _blocks(task: Any, names: tuple[str, str, str]) -> dict[str, str]:
    arms = [_arm(block) for block in (task.block1, task.block2, task.block3)]
    return {
        **{f"{{{key}}}": name for key, name in zip("ABC", names, strict=True)},
        **{f"{{{key}}}": arm for key, arm in zip("abc", arms, strict=True)},
    }


def _place_bread_basket(task: Any) -> dict[str, str]:
    arms = {_arm(bread) for bread in task.bread}
    breads = [f"075_bread/base{number}" for number in task.bread_id]
    info = {"{A}": f"076_breadbasket/base{task.basket_id}", "{B}": breads[0]}
    info["{a}"] = _arm(task.bread[0]) if len(arms) == 1 else "dual"
    if len(breads) == 2:
        info["{C}"] = breads[1]
    return info


def _arm(thing: Any) -> str:
    """The arm on whose side of the table a thing lies."""
    return "left" if thing.get_pose().p[0] < 0 else "right"


_PLAYED = {
    "stack_blocks_three": _stack_blocks_three,
    "blocks_ranking_size": _blocks_ranking_size,
    "place_bread_basket": _place_bread_basket,
}
