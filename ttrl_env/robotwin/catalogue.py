"""RoboTwin's fifty tasks, in alphabetical order of its names; nothing needs to be installed to know them.

Step limits, descriptions of the tasks and the objects that they load are facts of ``rlinf-robotwin-runtime``
0.1.3. Horizons are those with which SimpleVLA-RL trains.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.errors import unknown_name
from ttrl_env.suites import ROBOTWIN, Task

NUM_INIT_STATES = 100
"""Initial states of each task; state k is a seed of the simulation, see :mod:`ttrl_env.robotwin.seeds`."""


TASK_CONFIGS = ("demo_randomized", "demo_clean")
"""The runtime's task configurations: random backgrounds, light, heights and clutter, or none of them."""


@dataclass(frozen=True, kw_only=True)
class RoboTwinTask(Task):
    """One task of RoboTwin. Its ``instruction`` is a short description: each episode words its own."""

    step_limit: int
    """The runtime's own limit on actions; it ends an episode whose ``max_steps`` is larger."""
    objects: tuple[str, ...] = ()
    """Models that it loads from the assets; empty: its objects are boxes, which need no assets."""


def task_id_of(name: str, argument: str = "task") -> int:
    """The id of the task with RoboTwin's ``name``; an unknown one raises with the nearest.

    >>> task_id_of("stack_blocks_two")
    45
    """
    if name not in _IDS:
        raise unknown_name(argument, name, _IDS)
    return _IDS[name]


@dataclass(frozen=True)
class _Entry:
    name: str
    instruction: str
    step_limit: int
    horizon: int = ROBOTWIN.horizon
    objects: tuple[str, ...] = ()


_BESIDE_EACH_OTHER = (
    *("047_mouse", "048_stapler", "050_bell", "057_toycar", "073_rubikscube", "075_bread"),
    *("077_phone", "081_playingcards", "086_woodenblock", "107_soap", "112_tea-box", "113_coffee-box"),
)

_INTO_THE_CABINET = (
    *("036_cabinet", "047_mouse", "048_stapler", "057_toycar", "073_rubikscube", "075_bread"),
    *("077_phone", "081_playingcards", "107_soap", "112_tea-box", "113_coffee-box"),
)

_ENTRIES = (
    _Entry("adjust_bottle", "pick up the bottle and hold it upright", 400, objects=("001_bottle",)),
    _Entry("beat_block_hammer", "grab the hammer and beat the block with it", 400, objects=("020_hammer",)),
    _Entry(
        "blocks_ranking_rgb",
        "place the red, green and blue blocks in a row, in this order from left to right",
        1200,
        horizon=600,
    ),
    _Entry(
        "blocks_ranking_size",
        "place the three blocks in a row, from the largest on the left to the smallest on the right",
        1200,
    ),
    _Entry(
        "click_alarmclock", "press the button on top of the alarm clock", 400, objects=("046_alarm-clock",)
    ),
    _Entry("click_bell", "press the top of the bell", 400, objects=("050_bell",)),
    _Entry(
        "dump_bin_bigbin",
        "grab the small bin and pour the balls into the big bin",
        600,
        objects=("011_dustbin", "063_tabletrashbin"),
    ),
    _Entry("grab_roller", "grab the roller with both arms and lift it", 400, objects=("102_roller",)),
    _Entry(
        "handover_block",
        "grab the red block with the left arm, hand it to the right arm and place it on the blue pad",
        800,
        horizon=400,
    ),
    _Entry(
        "handover_mic",
        "grab the microphone with one arm and hand it to the other arm",
        600,
        objects=("018_microphone",),
    ),
    _Entry(
        "hanging_mug",
        "move the mug to the middle with the left arm, then hang it on the rack with the right arm",
        900,
        objects=("039_mug", "040_rack"),
    ),
    _Entry("lift_pot", "lift the pot with both arms", 400, objects=("060_kitchenpot",)),
    _Entry(
        "move_can_pot",
        "pick up the can and place it beside the pot",
        400,
        objects=("060_kitchenpot", "105_sauce-can"),
    ),
    _Entry(
        "move_pillbottle_pad",
        "pick up the pill bottle and place it on the pad",
        400,
        objects=("080_pillbottle",),
    ),
    _Entry(
        "move_playingcard_away",
        "pick up the playing cards and move them outward on the table",
        400,
        objects=("081_playingcards",),
    ),
    _Entry("move_stapler_pad", "move the stapler onto the coloured mat", 400, objects=("048_stapler",)),
    _Entry("open_laptop", "open the laptop", 700, objects=("015_laptop",)),
    _Entry("open_microwave", "open the microwave", 1500, objects=("044_microwave",)),
    _Entry("pick_diverse_bottles", "pick up one bottle with each arm", 400, objects=("001_bottle",)),
    _Entry(
        "pick_dual_bottles", "pick up one bottle with each arm", 400, horizon=100, objects=("001_bottle",)
    ),
    _Entry(
        "place_a2b_left", "place the first object to the left of the second", 400, objects=_BESIDE_EACH_OTHER
    ),
    _Entry(
        "place_a2b_right",
        "place the first object to the right of the second",
        400,
        objects=_BESIDE_EACH_OTHER,
    ),
    _Entry(
        "place_bread_basket", "place the bread in the basket", 700, objects=("075_bread", "076_breadbasket")
    ),
    _Entry(
        "place_bread_skillet", "place the bread in the skillet", 500, objects=("075_bread", "106_skillet")
    ),
    _Entry(
        "place_burger_fries",
        "place the hamburger and the french fries on the tray",
        500,
        objects=("005_french-fries", "006_hamburg", "008_tray"),
    ),
    _Entry(
        "place_can_basket",
        "place the can in the basket, then lift the basket with the other arm",
        700,
        objects=("071_can", "110_basket"),
    ),
    _Entry(
        "place_cans_plasticbox",
        "place both cans in the plastic box",
        800,
        objects=("062_plasticbox", "071_can"),
    ),
    _Entry(
        "place_container_plate",
        "place the container on the plate",
        400,
        horizon=150,
        objects=("002_bowl", "003_plate", "021_cup"),
    ),
    _Entry(
        "place_dual_shoes",
        "place both shoes in the shoe box, their tips to the left",
        600,
        objects=("007_shoe-box", "041_shoe"),
    ),
    _Entry("place_empty_cup", "place the empty cup on the coaster", 500, objects=("019_coaster", "021_cup")),
    _Entry("place_fan", "place the fan on the coloured mat, facing the robot", 400, objects=("099_fan",)),
    _Entry("place_mouse_pad", "place the mouse on the coloured mat", 400, objects=("047_mouse",)),
    _Entry(
        "place_object_basket",
        "place the object in the basket, then move the basket away with the other arm",
        700,
        objects=("057_toycar", "081_playingcards", "110_basket"),
    ),
    _Entry(
        "place_object_scale",
        "place the object on the scale",
        400,
        objects=("047_mouse", "048_stapler", "050_bell", "072_electronicscale"),
    ),
    _Entry(
        "place_object_stand",
        "place the object on the stand",
        400,
        objects=(
            "047_mouse",
            "048_stapler",
            "050_bell",
            "057_toycar",
            "073_rubikscube",
            "074_displaystand",
            "079_remotecontrol",
        ),
    ),
    _Entry(
        "place_phone_stand",
        "place the phone on the phone stand",
        400,
        objects=("077_phone", "078_phonestand"),
    ),
    _Entry("place_shoe", "place the shoe on the mat", 500, horizon=250, objects=("041_shoe",)),
    _Entry("press_stapler", "press the stapler", 400, objects=("048_stapler",)),
    _Entry(
        "put_bottles_dustbin",
        "put the bottles into the dustbin on the left of the table",
        1700,
        horizon=800,
        objects=("011_dustbin", "114_bottle"),
    ),
    _Entry(
        "put_object_cabinet",
        "open the drawer with one arm and put the object into it with the other",
        700,
        objects=_INTO_THE_CABINET,
    ),
    _Entry(
        "rotate_qrcode",
        "pick up the QR code board and turn the code to face you",
        400,
        objects=("070_paymentsign",),
    ),
    _Entry(
        "scan_object",
        "pick up the scanner with one arm and the object with the other, then scan the object",
        500,
        objects=("024_scanner", "112_tea-box"),
    ),
    _Entry("shake_bottle", "pick up the bottle and shake it", 700, horizon=75, objects=("001_bottle",)),
    _Entry(
        "shake_bottle_horizontally",
        "pick up the bottle and shake it horizontally",
        700,
        objects=("001_bottle",),
    ),
    _Entry(
        "stack_blocks_three", "stack the green block on the red one and the blue block on the green one", 1200
    ),
    _Entry("stack_blocks_two", "stack the green block on the red block", 800, horizon=400),
    _Entry("stack_bowls_three", "stack the three bowls", 1200, objects=("002_bowl",)),
    _Entry("stack_bowls_two", "stack the two bowls", 900, horizon=400, objects=("002_bowl",)),
    _Entry("stamp_seal", "pick up the seal and stamp the coloured mat", 400, objects=("100_seal",)),
    _Entry("turn_switch", "press the switch", 400, objects=("056_switch",)),
)

TASKS: tuple[RoboTwinTask, ...] = tuple(
    RoboTwinTask(
        suite=ROBOTWIN.name,
        task_id=task_id,
        name=entry.name,
        instruction=entry.instruction,
        horizon=entry.horizon,
        step_limit=entry.step_limit,
        objects=entry.objects,
    )
    for task_id, entry in enumerate(_ENTRIES)
)
"""The tasks by id."""

_IDS = {task.name: task.task_id for task in TASKS}
