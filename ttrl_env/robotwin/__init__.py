"""RoboTwin 2.0 as a test-time-RL environment: two arms, 50 tasks, played by another interpreter."""
