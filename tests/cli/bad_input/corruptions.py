"""What cannot be evaluated under corruptions."""

from __future__ import annotations

from tests.cli.bad_input.case import RUN, Case

EVALUATE = "evaluate digits:mlp --data digits:test "
CORRUPTIONS = [
    Case(name="evaluate nothing", typed="evaluate", says=("one model", "got 0 model(s) and no --data")),
    Case(name="evaluate two", typed="evaluate a b --data digits:test", says=("one model", "got 2 model(s)")),
    Case(name="evaluate under nothing", typed=EVALUATE, says=("under what?", "--corruptions all", "--attacks")),
    Case(name="evaluate without a size", typed=f"{EVALUATE} --attacks pgd", says=("pgd needs --eps",)),
    Case(
        name="evaluate with a size of nothing",
        typed=f"{EVALUATE} --corruptions fog --eps 0.1",
        says=("--eps does nothing here", "no attack is named"),
    ),
    Case(
        name="evaluate more images than there are",
        typed=f"{EVALUATE} --corruptions fog --num-images 1000",
        says=("num_images 1000: there are 355",),
    ),
    Case(name="evaluate: no such corruption", typed=f"{EVALUATE} --corruptions fgo", says=("'fgo'", "'fog'")),
    Case(name="evaluate: frost", typed=f"{EVALUATE} --corruptions frost", says=("photographs", "procedural-frost")),
    Case(name="evaluate: severity", typed=f"{EVALUATE} --corruptions fog --severities 0 1", says=("1 to 5, got 0",)),
    Case(name="attack-sweep: no such corruption", typed=f"{RUN} --corruptions fgo", says=("'fgo'", "'fog'")),
    Case(
        name="attack-sweep: severities of nothing",
        typed=f"{RUN} --severities 3",
        says=("--severities does nothing here", "there are no corruptions"),
    ),
    Case(name="data: severities of nothing", typed="data digits:test --severities 3", says=("does nothing here",)),
]
