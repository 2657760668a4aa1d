"""How much of the accuracy lost on a replicated test set is the choice of its images?  (arXiv:2005.09619)

A replica is chosen so that its images are selected by workers as often as the original's. Readings of a few workers are
noisy, and candidates are worse on average, so images that read equal are not equal: the replica is harder. Simulated
studies with a known truth show how much, and which estimators get it back from answers given after the choice. With
--data the same estimators analyse the user's own study.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from robustray.tasks.crowds.answers import ANSWERS, CORRECTNESS, own_study
from robustray.tasks.crowds.replicas.estimators import MOMENTS, estimators_for
from robustray.tasks.crowds.replicas.labelled import labelled
from robustray.tasks.crowds.replicas.ranked import ANNOTATED, RANKS, TOPS, Ranked, ranked
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Protocol
from robustray.tasks.crowds.sets import ACCEPTED, AcceptedLabels
from robustray.tasks.crowds.tables import open_table
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.studies.replication import (
    causing,
    classing,
    designs,
    determining,
    findings,
    own,
    planning,
    ranking,
    real,
    real_findings,
    reduce,
)
from robustray.tasks.studies.replication.blocks import (
    MEAN,
    DepartureProtocol,
    OwnProtocol,
    SamplerProtocol,
    cause_block,
    class_block,
    departure_block,
    own_block,
    sampler_block,
    simulated_block,
)
from robustray.tasks.studies.replication.causing import Caused
from robustray.tasks.studies.replication.classing import Classed
from robustray.tasks.studies.replication.departing import Departed
from robustray.tasks.studies.replication.mixing import Mixed, MixtureProtocol, mixture_block
from robustray.tasks.studies.replication.sampling import Sampled
from robustray.tasks.studies.replication.settings import OUTLINE, Settings
from robustray.tasks.study import Opened, Study

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab import Lab
    from robustray.tasks.lab.protocol import Handle, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Read and join the user's own tables. Raises: InputError naming table, column and row."""
    if settings.counts:
        refs = _real_tables(settings)
        _real_people(settings, lab, refs)
        return Opened(refs={f"table {ref.name}": ref for ref in refs.values()})
    if settings.original:
        refs = _ranked_tables(settings)
        _ranked(settings, lab, refs)
        return Opened(refs={f"table {ref.name}": ref for ref in refs.values()})
    refs = _own_tables(settings)
    if refs:
        own_study(lab.load(refs["answers"]), lab.load(refs["correctness"]))
    return Opened(refs={f"table {ref.name}": ref for ref in refs.values()})


def run(settings: Settings, lab: Lab) -> Findings:
    if settings.counts:
        return _real(settings, lab)
    if settings.original:
        return _without_answers(settings, lab)
    return _own(settings, lab) if settings.data else _simulated(settings, lab)


def _simulated(settings: Settings, lab: Lab) -> Findings:
    handles = {
        scenario: lab.map(
            "studies",
            simulated_block,
            range(settings.num_studies),
            block=settings.block,
            seed=settings.seed,
            settings=_protocol(settings, scenario),
        )
        for scenario in settings.scenarios
    }
    departing = _departing(settings, lab) if settings.num_departed else None
    sampling = _sampling(settings, lab) if settings.num_compared else None
    mixing = {scenario: _mixing(settings, lab, scenario) for scenario in settings.scenarios if settings.num_mixtures}
    causes = {
        name: lab.map(
            "causes", cause_block, range(settings.num_causes), block=settings.block, seed=settings.seed, settings=each
        )
        for name, each in causing.protocols(settings).items()
    }
    by_class = {
        name: lab.map(
            "classes",
            class_block,
            range(settings.num_by_class),
            block=settings.block,
            seed=settings.seed,
            settings=each,
        )
        for name, each in classing.protocols(settings).items()
    }
    rows = {scenario: handle.result() for scenario, handle in handles.items()}
    names = list(estimators_for(settings.claimed_answers))
    studies = reduce.study_frame(rows, settings.num_answers, names, settings.num_matching)
    departed = Departed(settings=settings, rows=departing.result()) if departing else None
    return findings.findings(
        findings.Results(
            settings=settings,
            rows=rows,
            studies=studies,
            performance=reduce.performance(studies, settings.num_matching),
            readings=reduce.readings(rows),
            departed=departed,
            mixed=Mixed(settings=settings, rows={name: each.result() for name, each in mixing.items()})
            if mixing
            else None,
            sampled=Sampled(settings=settings, rows=sampling.result()) if sampling else None,
            caused=Caused(settings=settings, rows={name: each.result() for name, each in causes.items()})
            if causes
            else None,
            classed=Classed(settings=settings, rows={name: each.result() for name, each in by_class.items()})
            if by_class
            else None,
        )
    )


def _departing(settings: Settings, lab: Lab) -> Handle[pd.DataFrame]:
    return lab.map(
        "departures",
        departure_block,
        range(settings.num_departed),
        block=min(settings.block, 10),
        seed=settings.seed,
        settings=DepartureProtocol(
            study=_protocol(settings, settings.scenarios[0]), num_answers=settings.claimed_answers
        ),
    )


def _sampling(settings: Settings, lab: Lab) -> Handle[pd.DataFrame]:
    return lab.map(
        "samplers",
        sampler_block,
        range(settings.num_compared),
        block=min(settings.block, 10),
        seed=settings.seed,
        settings=SamplerProtocol(
            study=_protocol(settings, settings.scenarios[0]),
            num_chosen=settings.num_chosen,
            num_answers=settings.claimed_answers,
        ),
    )


def _mixing(settings: Settings, lab: Lab, scenario: str) -> Handle[pd.DataFrame]:
    return lab.map(
        "mixtures",
        mixture_block,
        range(settings.num_mixtures),
        block=min(settings.block, 5),
        seed=settings.seed,
        settings=MixtureProtocol(
            study=_protocol(settings, scenario),
            num_answers=settings.claimed_answers,
            num_intervals=settings.num_mixture_intervals,
        ),
    )


def _protocol(settings: Settings, scenario: str) -> Protocol:
    return Protocol(
        name=scenario,
        scenario=SCENARIOS[scenario],
        num_images=settings.num_images,
        num_candidates=settings.num_candidates,
        num_classes=settings.num_classes,
        num_matching=settings.num_matching,
        num_answers=settings.num_answers,
        num_resamples=settings.num_resamples,
    )


def _own(settings: Settings, lab: Lab) -> Findings:
    refs = _own_tables(settings)
    study = own_study(lab.load(refs["answers"]), lab.load(refs["correctness"]))
    rows = lab.map(
        "own",
        own_block,
        [MEAN, *range(len(study.models))],
        block=32,
        seed=settings.seed,
        settings=OwnProtocol(num_resamples=settings.num_resamples),
        refs=refs,
    ).result()
    results = own.Results(settings=settings, study=study, frame=own.gap_frame(rows, study))
    bias = results.estimate("bias", MOMENTS)
    if not planning.can_plan(study, bias):
        return own.findings(results)

    def simulated(design: designs.Design, items: range) -> pd.DataFrame:
        return lab.map(
            "plan", designs.check_block, items, block=100, seed=settings.seed, settings=design, refs=refs
        ).result()

    # the study's own design, then every one that would be recommended, until a simulated one is
    fitted, wider = designs.study_world(study), designs.Wider(ratio={})
    design: designs.Design | None = designs.as_it_is(study)
    found = None
    while design is not None:
        if min(designs.worth(design, study)) < designs.SMALL:
            wider = wider.having(design, fitted, study, simulated(design, range(designs.NUM_SIMULATED)))
        found = planning.plan(settings, study, bias, wider)
        design = None if found is None else found.next_to_simulate()
    if found is None:
        return own.findings(results)
    best = found.cheapest or designs.as_it_is(study)
    checked = simulated(best, range(designs.NUM_SIMULATED, 2 * designs.NUM_SIMULATED))
    return own.findings(results, planning.Planned(plan=found, design=best, checked=checked))


def _real(settings: Settings, lab: Lab) -> Findings:
    refs = _real_tables(settings)
    people = _real_people(settings, lab, refs)
    most = real.most_answers(people)
    num_answers = (*(n for n in settings.num_answers if n < most), most)
    rows = lab.map(
        "splits",
        real.real_block,
        range(settings.num_splits),
        block=settings.block,
        seed=settings.seed,
        settings=real.RealProtocol(
            num_answers=num_answers,
            claimed_answers=settings.claimed_answers,
            num_resamples=settings.num_resamples,
        ),
        refs=refs,
    ).result()
    return real_findings.findings(
        real_findings.Results(
            settings=settings,
            rows=rows,
            num_answers=num_answers,
            models=people.models,
            num_images=len(people.n_shown),
        )
    )


def _without_answers(settings: Settings, lab: Lab) -> Findings:
    refs = _ranked_tables(settings)
    protocol = ranking.RankedProtocol(
        replicas=tuple(name for name in refs if name not in SINGLE),
        leave_out=settings.leave_out,
        num_resamples=settings.num_resamples,
        annotated=bool(settings.annotated),
    )
    seed = settings.seed
    drops = lab.map("ranked", ranking.ranked_block, list(TOPS), block=1, seed=seed, settings=protocol, refs=refs)
    known = (
        lab.map("labelled", determining.labelled_block, list(TOPS), block=1, seed=seed, settings=protocol, refs=refs)
        if settings.accepted
        else None
    )
    return ranking.findings(
        ranking.Results(
            settings=settings,
            of=_ranked(settings, lab, refs),
            rows=drops.result(),
            known=None if known is None else known.result(),
        )
    )


SINGLE = ("original", "annotated", "accepted")
"""References that are not replicas."""


def _ranked(settings: Settings, lab: Lab, refs: dict[str, Reference]) -> Ranked:
    """Raises: InputError as `ranked` and `labelled`."""
    replicas = {name: lab.load(ref) for name, ref in refs.items() if name not in SINGLE}
    annotated = lab.load(refs["annotated"]) if settings.annotated else None
    of = ranked(lab.load(refs["original"]), replicas, settings.leave_out, annotated)
    if settings.accepted:
        labelled(of, AcceptedLabels.of(lab.load(refs["accepted"])))
    return of


def _ranked_tables(settings: Settings) -> dict[str, Reference]:
    """The original, every replica by the name of its file, and what is known of images."""
    found = {"original": open_table(settings.original, RANKS)}
    found |= {PurePath(path).stem: open_table(path, RANKS) for path in settings.replicas}
    if settings.annotated:
        found["annotated"] = open_table(settings.annotated, ANNOTATED)
    if settings.accepted:
        found["accepted"] = open_table(settings.accepted, ACCEPTED)
    return found


def _real_people(settings: Settings, lab: Lab, refs: dict[str, Reference]) -> real.People:
    """Raises: InputError where an image has too few answers to choose, to match and to estimate with."""
    people = real.people(lab.load(refs["counts"]), lab.load(refs["predicted"]))
    if real.most_answers(people) <= settings.claimed_answers:
        raise InputError(
            f"{settings.counts}: an image has {people.n_shown.min()} answers; ten choose, ten match, and more than "
            f"{settings.claimed_answers} (--claimed-answers) have to be left"
        )
    return people


def _real_tables(settings: Settings) -> dict[str, Reference]:
    return {
        "counts": open_table(settings.counts, real.COUNTS),
        "predicted": open_table(settings.predictions, real.PREDICTED),
    }


def _own_tables(settings: Settings) -> dict[str, Reference]:
    if not settings.data:
        return {}
    return {
        "answers": open_table(settings.data, ANSWERS),
        "correctness": open_table(settings.correctness, CORRECTNESS),
    }


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "studies": simulated_block,
        "departures": departure_block,
        "samplers": sampler_block,
        "mixtures": mixture_block,
        "causes": cause_block,
        "classes": class_block,
        "own": own_block,
        "plan": designs.check_block,
        "splits": real.real_block,
        "ranked": ranking.ranked_block,
        "labelled": determining.labelled_block,
    },
    compare=comparison(
        Compared(
            table="by-answers",
            keys=("scenario", "n_answers", "estimator"),
            value="gap",
            lo="gap_lo",
            hi="gap_hi",
            unit="points",
        )
    ),
)
