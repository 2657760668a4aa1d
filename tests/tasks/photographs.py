"""Photographs of mixed sizes with boxes, made of scenes: their true masks are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from robustray.tasks.data import open_data


@dataclass(frozen=True)
class Photo:
    """A scene with some rows added on top, so that sizes differ."""

    name: str
    pixels: np.ndarray
    """(height, width, 3)."""
    mask: np.ndarray
    box: tuple[int, int, int, int]


def photos(count: int = 12, classes: int = 3) -> list[Photo]:
    """`count` photographs of the first classes of scenes, 64 to 80 pixels wide."""
    made = []
    for number in range(count):
        side, pad = 64 + 8 * (number % 3), 5 * (number % 4)
        row = number % classes + 9 * (number // classes)
        data = open_data(f"scenes:test,n={row + 1},size={side},aa=1", data_root=None).fetch()
        assert data.masks is not None and data.boxes is not None
        pixels = np.pad(data.images[row].transpose(1, 2, 0), ((pad, 0), (0, 0), (0, 0)), mode="wrap")
        mask = np.pad(data.masks[row], ((pad, 0), (0, 0)))
        x0, y0, x1, y1 = (int(each) for each in data.boxes[row])
        name = f"{data.classes[data.labels[row]]}/{number}.png"
        made.append(Photo(name, pixels, mask, (x0, y0 + pad, x1, y1 + pad)))
    return made


def write(folder: Path, made: list[Photo]) -> None:
    """`folder/photos/CLASS/NUMBER.png`, and the boxes in every form: boxes.csv, coco.json, xml/."""
    lines, images, annotations = ["file,x0,y0,x1,y1"], [], []
    for number, each in enumerate(made):
        place = folder / "photos" / each.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each.pixels).save(place)
        x0, y0, x1, y1 = each.box
        height, width = each.pixels.shape[:2]
        lines.append(f"{each.name},{x0},{y0},{x1},{y1}")
        images.append({"id": number, "file_name": each.name, "width": width, "height": height})
        annotations.append({"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": 1})
        xml = (folder / "xml" / each.name).with_suffix(".xml")
        xml.parent.mkdir(parents=True, exist_ok=True)
        sides = "".join(
            f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), each.box, strict=True)
        )
        xml.write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size>"
            f"<object><name>{each.name.split('/')[0]}</name><bndbox>{sides}</bndbox></object></annotation>"
        )
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    categories = [{"id": 1, "name": "thing"}]
    (folder / "coco.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
