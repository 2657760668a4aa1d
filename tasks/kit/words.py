"""Words that captions, answers and names share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


def listed(parts: Iterable[str]) -> str:
    """`"a, b and c"`; nothing of nothing."""
    words = list(parts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def plural(count: int, what: str) -> str:
    """`"1 seed"`, `"3 seeds"`, `"1,200 images"`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def slug(*parts: str) -> str:
    """A name as part of a file name: `slug("accuracy", "cifar10:test")` is "accuracy-cifar10-test"."""
    return "-".join("".join(c if c.isalnum() else "-" for c in part).strip("-").lower() for part in parts)


def over_words(num_seeds: int, *, units: str = "images") -> str:
    """What the intervals of `mean_over_seeds` are over, as a caption says it."""
    if num_seeds == 1:
        return f"95 % intervals are over {units} only (one seed: nothing is known of other trainings)"
    return f"95 % intervals are over seeds (Student's t) and {units} (Wilson) together"


def at_chance(accuracies: Mapping[str, tuple[float, float]], num_classes: int, on: str) -> Iterator[str]:
    """A warning for every model that is not shown to be better than guessing: attacks have nothing to take from it.

    accuracies: model -> clean accuracy and the lower end of its interval, shares. on: `"images of digits:test"`.
    """
    for model, (accuracy, lo) in accuracies.items():
        if lo <= 1 / num_classes:
            yield (
                f"{model} classifies {100 * accuracy:.1f} % of the clean {on} correctly, not shown to be better than "
                f"chance ({100 / num_classes:.1f} %): what is said of it under attack means nothing"
            )
