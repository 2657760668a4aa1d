"""`robustray report RUN...`: write the page of a run again, or an index page over several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustray.distributed.commands.parsing import again, gather, parse, split_names, typed_as
from robustray.distributed.commands.resume import find_run, request_of
from robustray.distributed.commands.run import Where, carry_out, print_document
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.lab.runs import Run


@dataclass(frozen=True, kw_only=True)
class ReportFlags(Where):
    """Write the page of a run again, from its stored pieces; of several runs, an index page with their answers.

    What is missing in the store is computed again, where and how the run computed it unless flags say otherwise."""


def main(argv: list[str]) -> int:
    """Write the page of one finished run again (its pieces are read, not computed), or an index over several."""
    names, words = split_names(argv, ReportFlags)
    prog = f"{typed_as()} report RUN [RUN ...]"
    flags = parse(ReportFlags, gather(words, ReportFlags), prog=prog, default=ReportFlags())
    if not names:
        raise InputError(f"report of which run? give one or more; `{again('status', store=flags.store)}` lists them")
    found = [find_run(name, flags) for name in names]
    for run, _ in found:
        if not run.file.document:
            resume = again(f"resume {run.id}", store=flags.store)
            raise InputError(f"{run.id} is {run.file.status} and has found nothing yet: `{resume}`")
    if len(found) > 1:
        index = write_index([run for run, _ in found])
        if flags.json:
            print_document({"runs": [run.id for run, _ in found], "report": index})
        else:
            print(index)
        return 0
    run, where = found[0]
    return carry_out(request_of(run), where, resume=run, rewalk=True)


def write_index(runs: list[Run]) -> str:
    """Cards of several runs as `index.html` in their store. Returns its path."""
    from robustray.tasks.outputs import without_types
    from robustray.tasks.report.index import Card, render_index
    from robustray.tasks.study import Figure, load_outline

    cards = []
    for run in runs:
        figure = run.file.figure
        if figure:
            figure = {**figure, "svg": run.store.read(f"{run.id}/figures/{figure['name']}.svg").decode()}
        identity = run.file.identity
        cards.append(
            Card(
                study=identity.study,
                question=load_outline(identity.study).question,
                answer=run.file.document["answer"],
                size=identity.size,  # type: ignore[arg-type]  # one of the four, as it was written
                date=run.file.created,
                link=f"{run.id}/report.html",
                figure=Figure(**figure) if figure else None,
                run=run.id,
                settings=without_types(identity.settings),
                verdicts=[each["verdict"] for each in run.file.document["claims"] if each.get("kind") == "paper"],
            )
        )
    store = runs[0].store
    store.write("index.html", render_index(cards, title=f"{len(cards)} runs").encode())
    return store.path("index.html")
