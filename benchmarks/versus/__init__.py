"""The parts of `benchmarks/attacks.py`: our attacks beside those of other libraries."""
