"""Words, numbers and places that cannot be used."""

from __future__ import annotations

from robustray.distributed.commands.recorded import CONFIG
from tests.cli.bad_input.case import (
    RUN,
    Case,
    both,
    file,
    some_runs,
)

WORDS = [
    Case(name="a run that isn't there", typed=f"run {CONFIG} run.json", says=("run.json", "No such file")),
    Case(name="no file of a run", typed=f"run attack-sweep {CONFIG}", says=("needs a file", "run.json")),
    Case(
        name="no record of a run",
        typed=f"show {CONFIG} run.json",
        says=("no record of a run", "manifest.json"),
        prepare=file("run.json", b"[1]"),
    ),
    Case(
        name="a run of another study",
        typed=f"run labels {CONFIG} run.json",
        says=("is a run of attack-sweep, not of labels",),
        prepare=file("run.json", b'{"identity": {"study": "attack-sweep", "settings": {}}}'),
    ),
    Case(
        name="settings of another version",
        typed=f"run {CONFIG} run.json",
        says=("does not know its settings num_shoes",),
        prepare=file("run.json", b'{"identity": {"study": "attack-sweep", "settings": {"num_shoes": 2}}}'),
    ),
    Case(name="no shell", typed="completion", says=("which shell", "bash", "zsh")),
    Case(name="no such shell", typed="completion bsh", says=("did you mean 'bash'",)),
    Case(name="no such command", typed="rnu attack-sweep", says=("'rnu'", "did you mean 'run'")),
    Case(name="no study", typed="run", says=("which study", "attack-sweep")),
    Case(name="flags before the study", typed="run --size quick attack-sweep", says=("Name it first",)),
    Case(name="no such study", typed="run atack-sweep", says=("did you mean 'attack-sweep'",)),
    Case(name="no such study to show", typed="show atack-sweep", says=("did you mean 'attack-sweep'",)),
    Case(name="no such flag", typed=RUN + "--num-image 3", says=("--num-image", "did you mean '--num-images'")),
    Case(name="no such flag of status", typed="status --stor x", says=("did you mean '--store'",)),
    Case(name="no such flag of resume", typed="resume x --faild", says=("did you mean '--failed'",)),
    Case(name="a stray word", typed=RUN + "digits:mlp", says=("digits:mlp", "--help explains")),
    Case(name="a switch with a value", typed=RUN + "--json true", says=("true",)),
    Case(name="no such opposite", typed=RUN + "--no-json", says=("--no-json",)),
    Case(name="a flag without its value", typed=RUN + "--store", says=("--store",)),
    Case(name="no such model", typed=RUN + "--model digits:mpl", says=("did you mean 'digits:mlp'",)),
    Case(
        name="a split of a folder of photographs",
        typed="data photos:train",
        says=("photos is a folder of class folders", "no splits", "photos,size=224"),
        prepare=file("photos/cat/1.png"),
    ),
    Case(
        name="data into a store that cannot be made",
        typed="data digits:test --store {folder}/own.txt/store",
        says=("--store", "own.txt/store", "cannot be written to"),
        prepare=file("own.txt"),
    ),
    Case(name="no such data", typed=RUN + "--data digts:test", says=("did you mean 'digits:test'",)),
    Case(name="no such split", typed=RUN + "--data digits:val", says=("no split of digits", "digits:train")),
    Case(name="no such attack", typed=RUN + "--attack pdg", says=("did you mean 'pgd'",)),
    Case(name="no such norm", typed=RUN + "--norm l3", says=("'l3'", "linf", "l2")),
    Case(name="no such size", typed=RUN + "--size smal", says=("did you mean 'small'",)),
    Case(name="no such step", typed=RUN + "--fresh attak", says=("--fresh attak", "did you mean 'attack'?", "clean")),
    Case(name="one step of two", typed=RUN + "--fresh clean --fresh train2", says=("--fresh train2", "'train'")),
    Case(name="no such exit rule", typed=RUN + "--exit-rule lst", says=("'lst'", "'last'")),
    Case(name="no such device", typed=RUN + "--device gpu", says=("'gpu'", "cuda")),
    Case(name="no such trained model", typed=RUN + "--model run:0123", says=("run:0123", "robustray list --store")),
    *(
        Case(name=f"an empty word: {flag}", typed=f"{RUN}{flag} ''", says=(flag, "empty"))
        for flag in ("--store", "--data", "--model", "--data-root", "--attack", "--address", "--checkpoint-every")
    ),
    Case(name="an empty store to list", typed="list --store ''", says=("--store", "empty")),
    Case(name="a blank store to look at", typed="status --store ' '", says=("--store", "empty")),
    Case(name="one model twice", typed=RUN + "--model digits:mlp --model digits:mlp", says=("models", "twice")),
    Case(name="no model", typed=RUN + "--models", says=("models", "at least one")),
]

IDLE = [
    Case(
        name=f"{flag} that does nothing",
        typed=typed,
        says=(f"--{flag} does nothing here", says),
    )
    for flag, typed, says in (
        ("eps-l2", RUN + "--norm linf --eps-l2 0.3", "--norm leaves l2 out"),
        ("eps-linf", RUN + "--norm l2 --eps-linf 0.3", "--norm leaves linf out"),
        ("num-restarts", RUN + "--attack autoattack --num-restarts 3 --num-transfer 0", "pgd and transfer"),
        ("num-steps", RUN + "--attack square --num-steps 3 --num-transfer 0", "pgd and transfer"),
        ("random-start", RUN + "--attack fgsm --no-random-start --num-transfer 0", "pgd and transfer"),
        ("exit-rule", RUN + "--attack noise --exit-rule last", "only the attack pgd"),
        ("num-draws", RUN + "--attack pgd --num-draws 3", "only the attack noise"),
        ("num-transfer", RUN + "--model digits:mlp --num-transfer 7", "two models"),
        ("eps-test-l2", "run robust-training --norm linf --eps-test-l2 0.4 0.8 1.3", "--norm leaves l2 out"),
        ("trace-steps", "run robust-training --num-traced 0 --trace-steps 90", "--num-traced 0"),
        ("autoattack-at", "run robust-training --num-autoattack 0 --autoattack-at trained", "--num-autoattack 0"),
    )
]

NUMBERS = [
    Case(name="negative eps", typed=RUN + "--eps-linf -0.1 0.1", says=("eps_linf", "positive", "-0.1")),
    Case(name="eps of zero", typed=RUN + "--eps-l2 0 1", says=("eps_l2", "positive")),
    Case(name="eps NaN", typed=RUN + "--eps-l2 nan", says=("eps_l2", "nan")),
    Case(name="eps infinite", typed=RUN + "--eps-l2 1e999", says=("eps_l2", "inf")),
    Case(name="eps too small to see", typed=RUN + "--eps-linf 1e-300", says=("eps_linf", "1e-300", "too small")),
    Case(name="eps below a float32 step", typed=RUN + "--eps-l2 1e-8", says=("eps_l2", "1e-08", "too small")),
    Case(
        name="eps twice in float32",
        typed=RUN + "--eps-linf 0.1 0.10000000001",
        says=("eps_linf", "one in float32", "0.10000000001"),
    ),
    Case(name="eps unsorted", typed=RUN + "--eps-linf 0.2 0.1", says=("eps_linf", "ascend", "0.2, 0.1")),
    Case(name="eps twice", typed=RUN + "--eps-linf 0.1 0.1", says=("eps_linf", "without repeats")),
    Case(name="eps in 0..255", typed=RUN + "--eps-linf 8", says=("eps_linf", "8/255")),
    Case(name="eps no number", typed=RUN + "--eps-linf 0.1 0,2", says=("--eps-linf", "'0,2' is no number")),
    Case(name="eps over zero", typed=RUN + "--eps-linf 8/0", says=("--eps-linf", "'8/0' is no number")),
    Case(name="eps half a fraction", typed=RUN + "--eps-linf 8/", says=("--eps-linf", "'8/' is no number")),
    Case(name="a count that is no number", typed=RUN + "--num-steps many", says=("--num-steps", "no whole number")),
    Case(name="a count that is no whole number", typed=RUN + "--num-seeds 1.5", says=("--num-seeds", "'1.5'")),
    Case(name="no steps", typed=RUN + "--num-steps 0", says=("num_steps", "at least 1")),
    Case(
        name="restarts that would all be the same",
        typed=RUN + "--num-restarts 2 --no-random-start",
        says=("num_restarts=2", "random_start"),
    ),
    Case(name="a negative seed", typed=RUN + "--seed -1", says=("seed", "at least 0")),
    Case(name="a seed beyond 64 bits", typed=RUN + f"--seed {10**23}", says=("seed", "below 2^62", str(10**23))),
    Case(name="a seed beyond 62 bits", typed=RUN + f"--seed {2**62}", says=("seed", "below 2^62")),
    Case(name="a count beyond 64 bits", typed=RUN + f"--num-images {2**64}", says=("num_images", "below 2^62")),
    *(
        Case(name=f"robust-training {flags}", typed=f"run robust-training --workers 0 {flags}", says=says)
        for flags, says in (
            ("--step-share 0", ("step_share", "above 0")),
            ("--lr 1e30", ("lr", "at most 1000", "1e+30")),
            ("--weight-decay 1e30", ("weight_decay", "at most 1000")),
            (f"--seed {2**70}", ("seed", "below 2^62")),
            ("--eps-train-linf 1e-300", ("eps_train_linf", "too small")),
        )
    ),
    Case(name="more images than there are", typed=RUN + "--num-images 356", says=("356", "digits:test has 355")),
]

PLACES = [
    Case(
        name="a file where the store should be",
        typed=RUN + "--store occupied",
        prepare=file("occupied"),
        says=("--store occupied", "file"),
    ),
    Case(
        name="a store below a file",
        typed=RUN + "--store occupied/below",
        prepare=file("occupied"),
        says=("--store", "occupied/below"),
    ),
    Case(name="an unwritable store", typed=RUN + "--store /proc/robustray", says=("--store /proc/robustray", "write")),
    Case(name="a store of no known kind", typed=RUN + "--store nfs7://host/runs", says=("--store nfs7://host/runs",)),
    Case(name="status of a file", typed="status --store occupied", prepare=file("occupied"), says=("occupied", "file")),
    Case(
        name="a relative store with a cluster",
        typed="run attack-sweep --address 127.0.0.1:6379 --store runs",
        says=("--store runs", "127.0.0.1:6379", "absolute"),
    ),
    Case(
        name="a relative store with a cluster in the environment",
        typed="run attack-sweep --store runs",
        environment={"RAY_ADDRESS": "127.0.0.1:6379"},
        says=("--store runs", "127.0.0.1:6379", "absolute"),
    ),
    Case(
        name="no store with a cluster",
        typed="run attack-sweep --address auto",
        says=("no --store", "absolute"),
    ),
    Case(
        name="no cluster there",
        typed="run attack-sweep --address 127.0.0.1:1 --store {folder}/store",
        says=("--address 127.0.0.1:1", "nothing answers"),
    ),
    Case(
        name="no cluster behind a client's address",
        typed="run attack-sweep --address ray://127.0.0.1:1 --store {folder}/store",
        says=("--address ray://127.0.0.1:1", "nothing answers"),
    ),
    Case(
        name="no port of that number",
        typed="run attack-sweep --address 127.0.0.1:99999 --store {folder}/store",
        says=("--address 127.0.0.1:99999", "nothing answers"),
    ),
    Case(
        name="no workers on a cluster",
        typed=RUN + "--address 127.0.0.1:6379 --store {folder}/store",
        says=("--workers 0", "--address"),
    ),
    Case(name="fewer workers than none", typed="run attack-sweep --workers -1", says=("--workers -1",)),
    Case(name="no interval", typed="run attack-sweep --checkpoint-every 0", says=("--checkpoint-every 0", "30s")),
    Case(name="an interval in days", typed="run attack-sweep --checkpoint-every 2d", says=("--checkpoint-every 2d",)),
    Case(name="no workers worth counting", typed="run attack-sweep --workers two", says=("--workers", "'two'")),
]

RUNS = [
    Case(name="resume nothing", typed="resume", says=("which run", "-m robustray status")),
    Case(name="resume an unknown run", typed="resume nothing", says=("no run 'nothing'", "runs")),
    Case(
        name="resume a misspelt run",
        typed="resume attack-swep",
        prepare=some_runs("0123abcd"),
        says=("no run 'attack-swep'", "attack-sweep-"),
    ),
    Case(
        name="resume one of two",
        typed="resume attack-sweep",
        prepare=some_runs("0123abcd", "0123abce"),
        says=("'attack-sweep'", "2 runs", "0123abcd", "0123abce"),
    ),
    Case(
        name="resume two",
        typed="resume 0123abcd 0123abce",
        prepare=some_runs("0123abcd", "0123abce"),
        says=("which run", "give one"),
    ),
    Case(name="report nothing", typed="report --store here", says=("which run", "-m robustray status --store here")),
    Case(name="report an unknown run", typed="report nothing", says=("no run 'nothing'",)),
    Case(
        name="report one of two",
        typed="report 0123",
        prepare=some_runs("01230000", "01231111"),
        says=("'0123'",),
    ),
    Case(
        name="report what has found nothing",
        typed="report 0123abcd",
        prepare=some_runs("0123abcd"),
        says=("interrupted", "found nothing yet", "-m robustray resume attack-sweep-"),
    ),
    Case(
        name="resume on fewer workers than none",
        typed="resume 0123abcd --workers -1",
        prepare=some_runs("0123abcd"),
        says=("--workers -1",),
    ),
    Case(name="a store's URL with a secret", typed=RUN + "--store s3://me:pw@bucket/runs", says=("s3://…", "AWS_")),
    Case(name="submit nothing", typed="submit", says=("which command", "-m robustray submit run")),
    Case(name="submit to a port", typed="submit --to 127.0.0.1:8265 status", says=("--to 127.0.0.1:8265", "URL")),
    Case(name="submit no command", typed="submit -- rum x", says=("submit rum", "did you mean 'run'")),
    Case(name="submit without a store", typed="submit run attack-sweep", says=("no --store", "every node")),
    Case(
        name="submit with a store of this folder", typed="submit resume x --store runs", says=("--store runs", "every")
    ),
    Case(
        name="submit with an address",
        typed="submit run attack-sweep --store /s --address auto",
        says=("leave --address out",),
    ),
    Case(name="submit without workers", typed="submit run attack-sweep --store /s --workers 0", says=("--workers 0",)),
    Case(
        name="submit what run would refuse",
        typed="submit run attack-sweep --store /s --num-imags 5",
        says=("--num-imags", "did you mean '--num-images'"),
    ),
    Case(
        name="submit a variable that is not set", typed="submit --env NOT_SET_HERE status", says=("--env NOT_SET_HERE",)
    ),
    Case(name="submit no variable", typed="submit --env 1=2 status", says=("--env 1=2", "NAME=VALUE")),
    Case(name="submit another folder", typed="submit --working-dir nowhere status", says=("--working-dir nowhere",)),
    Case(
        name="submit to nobody",
        typed="submit --to http://127.0.0.1:9 status",
        says=("--to http://127.0.0.1:9", "nobody answers", "ssh -N -L"),
    ),
    Case(name="verify nothing", typed="verify", says=("which run", "-m robustray status")),
    Case(name="verify more than all", typed="verify x --share 1.5", says=("--share 1.5", "at most 1")),
    Case(name="verify nothing of a run", typed="verify x --share 0", says=("--share 0",)),
    Case(name="verify by no seed", typed="verify x --seed -1", says=("--seed -1",)),
    Case(
        name="verify what is not finished",
        typed="verify 0123abcd",
        prepare=some_runs("0123abcd"),
        says=("interrupted, not finished", "-m robustray resume attack-sweep-"),
    ),
    Case(name="prune what is no store", typed="prune --store {folder}", says=("--store", "no store of robustray")),
    Case(name="prune by the week", typed="prune --older-than 2w", says=("--older-than 2w", "30d")),
    Case(
        name="prune beside a damaged run",
        typed="prune --older-than 0s",
        prepare=both(some_runs("0123abcd"), file("runs/attack-sweep-20260101-000000-0123abce/run.json", b"{")),
        says=("0123abce/run.json", "nothing was removed"),
    ),
]
