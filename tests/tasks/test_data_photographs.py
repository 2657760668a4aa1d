"""Folders of photographs of mixed sizes: what becomes of each, what is said of it, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustray.tasks.data import open_data
from robustray.tasks.data.photographs import LARGEST_SIDE, ORIENTATION, decode_fitted, fit
from robustray.tasks.data.reference import at_size
from robustray.tasks.data.sources import check_name
from robustray.tasks.data.views import resize
from robustray.tasks.errors import InputError


def picture(
    folder: Path, name: str, size: tuple[int, int], *, grey: bool = False, turn: int = 1, kind: str = "png"
) -> np.ndarray:
    """Write noise of (height, width) and return it."""
    shape = size if grey else (*size, 3)
    pixels = np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[ORIENTATION] = turn
    image.save(folder / f"{name}.{kind}", exif=exif)
    return pixels


def test_a_name_is_no_mistake_where_its_folder_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`robustray show` looks at names alone, and takes what `run` takes."""
    picture(tmp_path / "photos" / "cat", "a", (9, 9))
    monkeypatch.chdir(tmp_path)
    check_name("photos")
    check_name("photos,size=8")
    with pytest.raises(InputError, match="there is no data set 'photo,size=8'"):
        check_name("photo,size=8")


def test_pictures_of_any_size_become_one_square_and_the_notes_say_how(tmp_path: Path) -> None:
    wide = picture(tmp_path / "cat", "a", (30, 60))
    picture(tmp_path / "cat", "bb", (10, 10))
    grey = picture(tmp_path / "dog", "ccc", (50, 40), grey=True)
    data = open_data(f"{tmp_path},size=20", data_root=None).fetch()
    assert data.shape == (3, 20, 20) and data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1]
    assert (data.images[0] == fit(wide, 20).transpose(2, 0, 1)).all()
    assert (data.images[2] == fit(grey, 20)).all(), "a grey picture has the same values in all three channels"
    assert data.notes == (
        "pictures of 10 x 10 to 40 x 50 pixels are resized to 20 x 20 "
        "(bicubic, short side first, centre cut out; 1 of them enlarged)",
        "1 of 3 pictures are grey and got three equal channels",
    )


def test_a_picture_is_fitted_as_the_view_resize_does_it(tmp_path: Path) -> None:
    picture(tmp_path / "cat", "a", (31, 47))
    picture(tmp_path / "dog", "a", (31, 47))
    stored = open_data(str(tmp_path), data_root=None)
    assert (open_data(f"{tmp_path},size=16", data_root=None).fetch().images == resize(stored, 16).fetch().images).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_cameras_that_were_held_sideways(turn: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    picture(tmp_path / "cat", "a", (12, 12), turn=turn)
    data = open_data(f"{tmp_path},size=12", data_root=None).fetch()
    want = ImageOps.exif_transpose(Image.open(tmp_path / "cat" / "a.png"))
    assert (data.images[0] == np.asarray(want).transpose(2, 0, 1)).all()
    assert any("turned upright" in note for note in data.notes) == (turn > 1)


def test_all_unreadable_pictures_are_named_and_none_is_dropped(tmp_path: Path) -> None:
    picture(tmp_path / "cat", "good", (9, 9))
    (tmp_path / "cat" / "bad.jpg").write_bytes(b"no picture")
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "png")
    (tmp_path / "cat" / "clear.png").write_bytes(clear.getvalue())
    with pytest.raises(InputError, match=r"2 of 3 pictures cannot be used: .*bad\.jpg.*clear\.png is transparent"):
        open_data(f"{tmp_path},size=8", data_root=None).fetch()


def test_more_pictures_than_memory_holds_are_refused() -> None:
    with pytest.raises(InputError, match=r"1,000,000,000 pictures of 4096 x 4096 pixels need .* GiB of memory"):
        decode_fitted([], 10**9, LARGEST_SIDE)


@pytest.mark.parametrize("size", ["0", "-3", "large", "100000", ""])
def test_sizes_that_are_none(size: str, tmp_path: Path) -> None:
    picture(tmp_path / "cat", "a", (9, 9))
    with pytest.raises(InputError, match="size is a whole number of pixels"):
        open_data(f"{tmp_path},size={size}", data_root=None)


def test_only_folders_of_pictures_get_a_size(tmp_path: Path) -> None:
    picture(tmp_path / "cat", "a", (9, 9))
    assert at_size(str(tmp_path), 8) == f"{tmp_path},size=8"
    assert at_size(f"{tmp_path},size=9", 8) == f"{tmp_path},size=9"
    assert at_size("digits:train", 8) == "digits:train"
    first, second = (open_data(f"{tmp_path},size={size}", data_root=None).content_hash for size in (8, 9))
    assert first != second
