"""The parts of `benchmarks/training.py`: our training step beside the loops of others, and bf16 beside fp32."""
