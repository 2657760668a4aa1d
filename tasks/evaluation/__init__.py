"""Robust accuracy in one call: `robustray.evaluate`."""
