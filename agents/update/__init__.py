"""The PPO update: advantages, loss, minibatches, optimiser."""
