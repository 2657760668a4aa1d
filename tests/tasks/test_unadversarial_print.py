"""Patches on paper: sizes, marks and bleed, and the colours that a printer of known primaries can print."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustray.tasks.compose.place import FIXED
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.unadversarial.design import DesignSettings, PatchKind, design
from robustray.tasks.studies.unadversarial.gamut import open_gamut, printable, printed
from robustray.tasks.studies.unadversarial.printing import Paper, as_pdf, as_png, enlarged

# 127 dpi is 5 dots a millimetre, so that sizes are whole numbers of dots
PAPER = Paper(side_mm=20, bleed_mm=2, dpi=127)
PATCH = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4) * 5


# --- Paper ------------------------------------------------------------------------------------------------------------


def test_every_pixel_of_a_patch_is_a_square_and_the_outermost_go_on_into_the_bleed() -> None:
    large = enlarged(PATCH, PAPER)
    assert large.shape == (120, 120, 3), "20 mm and twice 2 mm at 5 dots a millimetre"
    inside = large[10:110, 10:110]
    assert (inside == np.moveaxis(PATCH, 0, 2).repeat(25, 0).repeat(25, 1)).all()
    assert (large[:10, 10:110] == inside[0]).all() and (large[10:110, 110:] == inside[:, -1:]).all()


def test_a_png_knows_its_size_and_its_marks_stand_in_line_with_the_edges_outside_the_bleed() -> None:
    sheet = Image.open(io.BytesIO(as_png(PATCH, PAPER)))
    assert sheet.size == (170, 170), "20 mm, and on each side 2 mm bleed, 1 mm gap, 4 mm mark"
    assert sheet.info["dpi"] == pytest.approx((127, 127), abs=0.1)
    pixels = np.asarray(sheet)
    dark = (pixels == 0).all(-1)
    dark[20:150, 20:150] = False  # what is left are the marks
    rows, columns = np.nonzero(dark)
    assert len(rows) == 8 * 20, "eight marks, one dot thick and 4 mm long"
    assert set(columns[rows < 20].tolist()) == {35, 135} and set(rows[columns < 20].tolist()) == {35, 135}
    assert (pixels[:20, 60:110] == 255).all() and (pixels[20:25, 60:110] == 255).all(), "paper between them"


def test_a_pdf_has_a_page_of_the_sheet_for_each_patch_and_the_same_bytes_again() -> None:
    pages = {"cat": PATCH, "dog": PATCH[:, ::-1]}
    written = as_pdf(pages, PAPER)
    assert written == as_pdf(pages, PAPER) and written.startswith(b"%PDF")
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", written)
    assert len(boxes) == 2, "two pages"
    assert [float(side) / 72 * 25.4 for side in boxes[0]] == pytest.approx([34, 34], abs=0.01)


def test_grey_patches_are_printed_grey() -> None:
    large = enlarged(np.full((1, 4, 4), 0.5), PAPER)
    assert large.shape == (120, 120, 3) and (large == 128).all()


# --- Gamut ------------------------------------------------------------------------------------------------------------


def profile(folder: Path, *, desaturated: float, space: bytes = b"RGB ") -> str:
    """An ICC profile of a device whose primaries are those of sRGB, mixed with grey by a share `desaturated`."""
    primaries = np.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])
    white = primaries.sum(0)
    mixed = (1 - desaturated) * primaries + desaturated * white / 3

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    text = b"test\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    tags = {b"desc": described + bytes(-len(described) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(white)}
    tags |= {name + b"XYZ": xyz(value) for name, value in zip((b"r", b"g", b"b"), mixed, strict=True)}
    tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">I", 1)
    header += b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    file = folder / "printer.icc"
    file.write_bytes(header.ljust(128, b"\0") + table + body)
    return str(file)


def encoded(linear: float) -> float:
    """sRGB's own curve, in levels of 255."""
    return 255 * (1.055 * linear ** (1 / 2.4) - 0.055)


def test_a_colour_outside_the_gamut_is_printed_as_the_primary_that_is_nearest(tmp_path: Path) -> None:
    """With 0.4 of grey in it, the red primary is (.7333, .1333, .1333) of linear sRGB; pure red is clipped to it."""
    path = profile(tmp_path, desaturated=0.4)
    red, grey = printed(path, np.array([[[255, 0, 0], [128, 128, 128]]], np.uint8))[0]
    assert red == pytest.approx([encoded(0.7333), encoded(0.1333), encoded(0.1333)], abs=3)
    assert grey == pytest.approx([128, 128, 128], abs=2)


def test_the_table_leaves_printable_colours_alone_and_moves_the_others(tmp_path: Path) -> None:
    path = profile(tmp_path, desaturated=0.4)
    gamut = open_gamut(path)
    table = gamut.build(gamut.fetch(), "cpu")
    colours = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    canvases = torch.from_numpy(colours).float().permute(0, 3, 1, 2) / 255
    found = printable(canvases, table).permute(0, 2, 3, 1).numpy()[0] * 255
    exact = printed(path, colours[0])
    moved = np.abs(exact.astype(int) - colours[0]).max(-1)
    assert (np.abs(found - colours[0])[moved == 0] < 6).all() and (moved > 10).any()
    assert np.abs(found - exact).max() < 16 and np.abs(found - exact).mean() < 2, "linear between 33 levels"
    again = printable(torch.from_numpy(found / 255).float().permute(2, 0, 1)[None], table)
    assert np.abs(again[0].permute(1, 2, 0).numpy() * 255 - found).mean() < 1.5, "what can be printed stays"


class Red(torch.nn.Module):
    """Class 0 is red, class 1 is what is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = 20 * (x[:, 0] - x[:, 1:].mean(1)).mean((1, 2))
        return torch.stack([red, -red], 1)


def test_a_design_stays_within_the_gamut(tmp_path: Path) -> None:
    gamut = open_gamut(profile(tmp_path, desaturated=0.4))
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)
    data = ImageData(name="random", images=images, labels=np.arange(8) % 2, classes=("red", "other"))
    objects = {"model": Red(), "data": data, "gamut": gamut.build(gamut.fetch(), "cpu")}
    ascent = SharedAscent(norm="linf", step_size=0.1, num_steps=20, batch_size=4, precision="fp32")
    kind = PatchKind(classes=(0,), side=4, placement=FIXED)
    ends = {}
    for within in (False, True):
        settings = DesignSettings(kind=kind, ascent=ascent, in_gamut=within)
        work = design(Context(settings=settings, seed=0, device="cpu", load=objects.__getitem__))
        assert len(list(work.steps())) == 20
        ends[within] = work.result()["patch"][0, :, 2:6, 2:6].mean((1, 2)).numpy() * 255
    assert ends[False] == pytest.approx([255, 0, 0])
    assert ends[True] == pytest.approx([encoded(0.7333), encoded(0.1333), encoded(0.1333)], abs=12)


def test_gamuts_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.icc").write_bytes(b"no profile")
    lab = profile(tmp_path, desaturated=0.1, space=b"Lab ")
    for path, says in (
        (str(tmp_path / "gone.icc"), "no such file"),
        (str(tmp_path / "no.icc"), "ICC"),
        (lab, "LAB|Lab"),
    ):
        with pytest.raises(InputError, match=says):
            open_gamut(path)
