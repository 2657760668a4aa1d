"""The engine at a million: what `benchmarks/engine_scale.py` measures, one module a part."""
