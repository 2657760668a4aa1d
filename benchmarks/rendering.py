"""How many views a second both renderers draw, by image size, and by number of worker processes.

    PYTHONPATH=. python benchmarks/rendering.py --views 64 --workers 1 2

Per second of CPU time of a process (what a busy machine changes least), and of wall-clock time over all processes. A
view is one camera's image of a solid, its texture included; MuJoCo's has depth. Making the stage is not counted. The
record goes to benchmarks/records/rendering.json, its table into docs/studies/unadversarial-rendered.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


def drawn(renderer: str, name: str, side: int, count: int) -> tuple[float, float, float]:
    """Draw views after a few that are not timed. Returns: seconds of CPU time, and the clock at both ends."""
    import torch

    from robustray.tasks.render.cameras import Views
    from robustray.tasks.render.raster import Geometry, rasterise, textured
    from robustray.tasks.render.simulator import Stage, as_frames
    from robustray.tasks.render.solids import solid

    torch.set_num_threads(1)
    texels = 128 if side <= 64 else 200
    texture, mesh = torch.rand(1, 3, texels, texels), solid(name)
    cameras = Views().cameras(0, torch.arange(count))
    if renderer == "rasteriser":
        geometry = Geometry(mesh)
        textured(texture, rasterise(geometry, cameras.some(0, 4), side))
        cpu, begun = time.process_time(), time.time()
        for first in range(0, count, 16):
            textured(texture, rasterise(geometry, cameras.some(first, first + 16), side))
        return time.process_time() - cpu, begun, time.time()
    with Stage({name: mesh}, texture_sides={name: texels}, side=side) as stage:
        stage.texture(name, texture[0].numpy())
        as_frames(stage, cameras.some(0, 4))
        cpu, begun = time.process_time(), time.time()
        as_frames(stage, cameras)
        return time.process_time() - cpu, begun, time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=64)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--solids", nargs="+", default=["car", "airplane", "ship"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--record", type=Path, default=Path(__file__).parent / "records" / "rendering.json")
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    load = os.getloadavg()[0]
    for workers in given.workers:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for renderer in ("rasteriser", "mujoco"):
                for name in given.solids:
                    for side in given.sides:
                        jobs = [pool.submit(drawn, renderer, name, side, given.views) for _ in range(workers)]
                        found = [job.result() for job in jobs]
                        views = workers * given.views
                        cpu = sum(each[0] for each in found)
                        wall = max(each[2] for each in found) - min(each[1] for each in found)
                        row = {"renderer": renderer, "solid": name, "side": side, "workers": workers}
                        row |= {"views_per_cpu_second": views / cpu, "views_per_second": views / wall}
                        rows.append(row)
                        print(json.dumps(row), flush=True)
    machine = {"cpus": os.cpu_count(), "views": given.views, "load_before": load, "load_after": os.getloadavg()[0]}
    given.record.write_text(json.dumps(machine | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
