"""The published world's file: every task is in it, and what differs from it is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ttrl_env import tasks
from ttrl_env.engines.make_engine import make_engine
from ttrl_env.libero_version import installed_mujoco, is_published
from ttrl_env.published_scenes import (
    BLOCKS,
    FILE,
    coarse,
    differences,
    published_scene,
    scene_config,
    see,
    write_published,
)

TASK = ("libero_spatial", 5)


def test_every_task_is_there_and_the_file_is_small() -> None:
    for name, suite in tasks.LIBERO_SUITES.items():
        for task_id in range(suite.num_tasks):
            scene = published_scene(name, task_id)
            assert len(scene.names) == len(scene.pos) == len(scene.quat) >= 3
            np.testing.assert_allclose(np.linalg.norm(scene.quat, axis=1), 1.0, atol=1e-5)
            assert scene.coarse_images.shape == (2, BLOCKS, BLOCKS, 3)
            assert scene.coarse_images.std() > 5
            assert differences(scene, scene) == []
    assert FILE.stat().st_size < 1e6


def test_blocks_are_means_of_their_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(coarse(image)[3, 5], image[12:16, 20:24].mean(axis=(0, 1)))


def test_what_differs_is_named() -> None:
    published = published_scene(*TASK)
    bowl = published.names.index("akita_black_bowl_1_main")
    moved = published.pos.copy()
    moved[bowl, 0] += 0.048
    (phrase,) = differences(replace(published, pos=moved), published)
    assert phrase == "has akita_black_bowl_1 4.8 cm and 0 degrees from its published pose"
    darker = published.coarse_images.copy()
    darker[0] -= 36
    (phrase,) = differences(replace(published, coarse_images=darker), published)
    assert phrase == "renders 36 grey levels darker than published (agentview)"
    spot = published.coarse_images.copy()
    spot[1, 2, 3] += 20
    (phrase,) = differences(replace(published, coarse_images=spot), published)
    assert (
        phrase
        == "renders a part of its image by 20 grey levels otherwise than published (robot0_eye_in_hand)"
    )
    (phrase,) = differences(replace(published, names=("chair_1_main", *published.names[1:])), published)
    assert "another LIBERO is installed" in phrase


def test_turned_bodies_differ_and_a_quaternion_s_sign_does_not() -> None:
    published = published_scene(*TASK)
    assert differences(replace(published, quat=-published.quat), published) == []
    turned = published.quat.copy()
    turned[1] = [np.cos(0.1), 0.0, 0.0, np.sin(0.1)]
    assert differences(replace(published, quat=turned), published) != []


def test_a_written_file_is_read_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env import published_scenes

    scenes = {task: published_scene(*task) for task in (TASK, ("libero_object", 0))}
    write_published(scenes, tmp_path / "world.npz")
    monkeypatch.setattr(published_scenes, "FILE", tmp_path / "world.npz")
    published_scenes._read.cache_clear()
    for task, scene in scenes.items():
        again = published_scene(*task)
        assert again.names == scene.names
        np.testing.assert_array_equal(again.coarse_images, scene.coarse_images)
        np.testing.assert_array_equal(again.pos, scene.pos)
    published_scenes._read.cache_clear()


@pytest.mark.libero
@pytest.mark.parametrize(("suite", "task_id"), [("libero_object", 0), TASK])
def test_the_engine_is_in_the_published_world_if_mujoco_is(suite: str, task_id: int) -> None:
    engine = make_engine("native", scene_config(suite))
    try:
        found = differences(see(engine, task_id), published_scene(suite, task_id))
    finally:
        engine.close()
    if is_published(installed_mujoco()):
        assert found == []
    else:
        assert found
