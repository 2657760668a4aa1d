"""Doors of settings: `robustray.tasks.checks`, by its earlier name."""

from robustray.tasks.checks import check_choice, check_count, check_size, fraction, python_numbers

__all__ = ["check_choice", "check_count", "check_size", "fraction", "python_numbers"]
