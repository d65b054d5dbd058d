"""LeRobot's side of the environments: ``lerobot-eval`` finds them here, and recordings become its datasets.

``lerobot-eval --env.discover_packages_path=ttrl_env.lerobot --env.type=ttrl`` imports the modules of this
package, and :mod:`~ttrl_env.lerobot.env_config` registers the type. :mod:`~ttrl_env.lerobot.vector_env`
itself needs no LeRobot. :mod:`~ttrl_env.lerobot.dataset` writes LeRobotDatasets and
:mod:`~ttrl_env.lerobot.reading` reads them, both through LeRobot.
"""
