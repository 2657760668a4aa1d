"""Policy gradients beside those of stable-baselines3: exact updates, and learning curves."""
