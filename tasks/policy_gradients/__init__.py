"""PPO, TRPO and their relatives with every code-level optimisation as a switch (arXiv 2005.12729), without Ray."""
