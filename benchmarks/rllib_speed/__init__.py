"""Environment steps per second of policy-gradient trainings, learning included."""
