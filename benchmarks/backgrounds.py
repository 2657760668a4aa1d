"""Adversarial backgrounds: compositions a second, forward included, beside batches made with `torch.where`.

    python benchmarks/backgrounds.py
    python benchmarks/backgrounds.py --memory      # does the memory grow with the number of compositions?

Contenders take turns on the same foregrounds and backgrounds, each in a process of its own that loads a trained
network, as whoever judges one does; one thread, seconds of the processor, so that other work on the machine counts
little; the best of several rounds. The rival composes with `torch.where` and asks the fp32 network in batches of 128,
in whichever memory format it is faster. Ours must give the rival's answers, which is checked.
`share_forward` is the share of the rival's time that its network takes alone, on images that are there already: what
composing could save at most is the rest. The record goes to benchmarks/records/backgrounds.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from robustray.tasks.attacks.precision import resolve_precision  # noqa: E402
from robustray.tasks.compose.cut import tiled  # noqa: E402
from robustray.tasks.data import ImageData, open_data  # noqa: E402
from robustray.tasks.lab.seeds import seed_torch  # noqa: E402
from robustray.tasks.models.registry import build_model  # noqa: E402
from robustray.tasks.studies.backgrounds.sweeping import Answerer, foregrounds, swept  # noqa: E402

BATCH = 128
STEPS = 150
"""Of training."""
MODELS = {"scenes:cnn": 32, "small:s": 32}
"""Network -> side of the scenes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--record", type=Path, default=HERE / "records" / "backgrounds.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--foregrounds", type=int, default=8)
    parser.add_argument("--backgrounds", type=int, default=512)
    parser.add_argument("--memory", action="store_true", help="measure that, and nothing else")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.one:
        print(json.dumps(one(*given.one)))
        return 0
    if given.memory:
        print(json.dumps(growth(given.backgrounds), indent=1))
        return 0
    found: dict[str, object] = {"batch": BATCH, "foregrounds": given.foregrounds, "backgrounds": given.backgrounds}
    for model, side in MODELS.items():
        found[model] = compared(model, side, given.foregrounds, given.backgrounds, given.rounds)
    given.record.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def growth(num_backgrounds: int) -> dict[str, float]:
    """The process's largest memory after a sweep of one block of foregrounds, and after one of four times as many."""
    data = open_data(f"scenes:test,n={num_backgrounds},size=32,aa=1,rho=1", data_root=None).fetch()
    rooms = torch.from_numpy(data.images)
    model = build_model("scenes:cnn", 9).eval()
    peaks = {}
    for count in (4, 16):
        with Answerer(model, rooms.shape[1:], "fp32") as answer:
            swept(answer, foregrounds(data, list(range(count)), "cpu"), rooms, batch_size=BATCH)
        peaks[f"peak_megabytes_{count * num_backgrounds}_compositions"] = peak_megabytes()
    return peaks


def peak_megabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def compared(name: str, side: int, num_foregrounds: int, num_backgrounds: int, rounds: int) -> dict[str, float]:
    """Compositions a second of each contender, and of ours as multiples of the rival's."""
    contenders = ["forward", "where", "where_channels_last", "fp32"]
    contenders += ["bf16"] if resolve_precision("cpu") == "bf16" else []
    best, answers, asked = dict.fromkeys(contenders, float("inf")), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(network(name, side).state_dict(), weights)
        for _ in range(rounds):
            for label in contenders:
                facts = [name, side, num_foregrounds, num_backgrounds, label, weights]
                command = [sys.executable, __file__, "--one", *map(str, facts)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                best[label] = min(best[label], found["seconds"])
                answers[label], asked[label] = found["answers"], found["asked_again"]
    for label in contenders[1:]:  # the network alone sees other images
        assert answers[label] == answers["where"], f"{label} answers otherwise"
    count = num_foregrounds * num_backgrounds
    rates = {f"{label}_per_second": round(count / seconds, 1) for label, seconds in best.items()}
    fastest = min(best["where"], best["where_channels_last"])
    ours = [label for label in contenders if label in ("fp32", "bf16")]
    return {
        **rates,
        **{f"times_{label}": round(fastest / best[label], 3) for label in ours},
        **{f"asked_again_{label}": asked[label] for label in ours},
        "share_forward": round(best["forward"] / best["where_channels_last"], 3),
    }


def one(
    name: str, side: str, num_foregrounds: str, num_backgrounds: str, label: str, weights: str
) -> dict[str, object]:
    """A contender in this process: its best seconds of three, after one to get warm."""
    data = open_data(f"scenes:test,n={num_backgrounds},size={side},aa=1,rho=1", data_root=None).fetch()
    assert data.boxes is not None
    rooms = torch.from_numpy(np.stack([tiled(image, box) for image, box in zip(data.images, data.boxes, strict=True)]))
    model = build_model(name, 9).eval()
    model.load_state_dict(load_file(weights))
    indices, asked = list(range(int(num_foregrounds))), 0

    def run() -> Tensor:
        nonlocal asked
        if label in ("fp32", "bf16"):
            with Answerer(model, rooms.shape[1:], "bf16" if label == "bf16" else "fp32") as answer:
                found = swept(answer, foregrounds(data, indices, "cpu"), rooms, batch_size=BATCH)
            asked = answer.num_asked_again
            return found
        layout = torch.contiguous_format if label == "where" else torch.channels_last
        return where_and_forward(model, data, indices, rooms, layout, compose=label != "forward")

    answers, seconds = run(), []
    for _ in range(3):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    digest = hashlib.sha256(answers.numpy().tobytes()).hexdigest()
    return {"seconds": min(seconds), "answers": digest, "asked_again": asked}


def network(name: str, side: int) -> nn.Module:
    """Trained for a while: a network that knows nothing is never sure of its answers."""
    data = open_data(f"scenes:train,n=2250,size={side},aa=1,rho=0.5", data_root=None).fetch()
    seed_torch(0)
    model = build_model(name, 9).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    order = np.random.default_rng(0)
    for _ in range(STEPS):
        images, labels = data.batch(order.integers(len(data), size=64))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    return model.eval()


def where_and_forward(
    model: nn.Module,
    data: ImageData,
    indices: list[int],
    rooms: Tensor,
    memory_format: torch.memory_format,
    *,
    compose: bool = True,
) -> Tensor:
    """What one writes first: `torch.where` on a batch of backgrounds, then the network in fp32. compose: or else the
    network on the backgrounds alone."""
    assert data.masks is not None
    images, _ = data.batch(indices)
    pixels = (rooms.float() / 255).contiguous(memory_format=memory_format)
    found = torch.empty(len(indices), len(rooms), dtype=torch.int16)
    with torch.inference_mode():
        for row, index in enumerate(indices):
            mask = torch.from_numpy(data.masks[index])
            for start in range(0, len(rooms), BATCH):
                batch = pixels[start : start + BATCH]
                shown = torch.where(mask, images[row], batch) if compose else batch
                found[row, start : start + BATCH] = model(shown).argmax(1).to(torch.int16)
    return found


if __name__ == "__main__":
    sys.exit(main())
