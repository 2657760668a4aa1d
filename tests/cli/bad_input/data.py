"""Data that cannot be used."""

from __future__ import annotations

from tests.cli.bad_input.case import (
    EIGHT,
    RUN,
    Case,
    bad_png,
    both,
    data,
    file,
    flip,
    folders,
    parquet,
    shards,
)

BOMB = bytes.fromhex("89504e470d0a1a0a0000000d49484452000186a0000186a008000000008d395414")
"""The beginning of a PNG of 100,000 x 100,000 pixels."""

DATA = [
    Case(
        name="a picture that announces ten thousand million pixels",
        typed=RUN + "--data images --model digits:mlp",
        prepare=both(folders("a", "b"), file("images/a/0.png", BOMB)),
        says=("images/a/0.png", "cannot be decoded"),
    ),
    Case(
        name="no data root",
        typed=RUN + "--data cifar10:test",
        says=("cifar10:test needs a data root", "--data-root", "robustray import cifar10"),
    ),
    Case(
        name="a data root that is not there",
        typed=RUN + "--data cifar10:test --data-root {folder}/nowhere",
        says=("nowhere/cifar10", "robustray import cifar10"),
    ),
    Case(
        name="a data root at home",
        typed=RUN + "--data cifar10:test --data-root=~/data",
        environment={"HOME": "/nowhere"},
        says=("/nowhere/data/cifar10",),
    ),
    Case(
        name="a data root without the files",
        typed=RUN + "--data cifar10:test",
        environment={"ROBUSTRAY_DATA": "."},
        says=("cifar10/test-*.parquet", "robustray import cifar10"),
    ),
    Case(
        name="an option of scenes that is none",
        typed=RUN + "--data scenes:test,roh=0.9",
        says=("no option 'roh' of scenes", "did you mean 'rho'"),
    ),
    Case(
        name="a value that no scene can have",
        typed=RUN + "--data scenes:test,rho=1.5",
        says=("rho must be within [0, 1], got 1.5",),
    ),
    Case(name="no such folder", typed=RUN + "--data ./images", says=("./images",)),
    Case(
        name="no such picture",
        typed="run synthesis --workers 0 --task inpaint --image mine.png --hole-at 2 2 3",
        says=("there is no file or folder mine.png",),
    ),
    Case(
        name="an option that no folder has",
        typed="data images,sise=8",
        prepare=folders("cat", "dog"),
        says=("'sise=8' is no option of a folder", "images,size=224"),
    ),
    Case(name="no such file", typed=RUN + "--data shards.parquet", says=("shards.parquet is missing",)),
    Case(
        name="class folders out of order",
        typed=RUN + "--data images",
        prepare=folders("0", "1", "10", "2"),
        says=("'10' comes before", "zero-pad"),
    ),
    Case(
        name="a file that is no image",
        typed=RUN + "--data images",
        prepare=file("images/cat/0.png"),
        says=("images/cat/0.png", "cannot be decoded"),
    ),
    Case(
        name="other pictures than the model takes",
        typed=RUN + "--data images --model digits:mlp",
        prepare=folders("cat", "dog"),
        says=("--model digits:mlp", "10 outputs", "2 classes"),
    ),
    Case(
        name="a truncated Parquet file",
        typed=RUN + "--data shards.parquet",
        prepare=shards(lambda data: data[:-50]),
        says=("shards.parquet", "truncated"),
    ),
    Case(
        name="a flipped bit in Parquet",
        typed=RUN + "--data shards.parquet",
        prepare=shards(flip),
        says=("shards.parquet", "damaged"),
    ),
    Case(
        name="Parquet without images",
        typed=RUN + "--data shards.parquet",
        prepare=parquet(label=[1, 2]),
        says=("shards.parquet", "image", "found label"),
    ),
    Case(
        name="Parquet without labels",
        typed=RUN + "--data shards.parquet",
        prepare=parquet(image=[{"bytes": b"x", "path": "x"}]),
        says=("shards.parquet", "label", "found image"),
    ),
    Case(
        name="a damaged PNG in whole Parquet",
        typed=RUN + "--data shards.parquet",
        prepare=bad_png,
        says=("shards.parquet row 1", "cannot be decoded"),
    ),
    Case(
        name="NaN pixels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} * np.nan, np.arange(4)"),
        says=("own:data", "image 0", "nan"),
    ),
    Case(
        name="pixels in 0..255",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} + 255, np.arange(4)"),
        says=("own:data", "255", "divide by 255"),
    ),
    Case(
        name="negative pixels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} - 0.5, np.arange(4)"),
        says=("own:data", "-0.5", "[0, 1]"),
    ),
    Case(
        name="labels out of range",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.array([0, 1, 2, 3]), ('a', 'b', 'c')"),
        says=("own:data", "image 3 has label 3", "3 classes"),
    ),
    Case(
        name="negative labels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.array([0, 1, -1, 2])"),
        says=("own:data", "label -1"),
    ),
    Case(
        name="fewer labels than images",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.arange(3)"),
        says=("own:data", "labels", "(4,)"),
    ),
    Case(
        name="channels last",
        typed=RUN + "--data own:data",
        prepare=data("np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)"),
        says=("own:data", "(4, 8, 8, 3)", "channels last"),
    ),
    Case(
        name="no images at all",
        typed=RUN + "--data own:data",
        prepare=data("np.zeros((0, 1, 8, 8), np.uint8), np.arange(0)"),
        says=("own:data", "no images"),
    ),
    Case(
        name="data of no kind",
        typed=RUN + "--data own:data",
        prepare=data("'junk'"),
        says=("own:data returned str", "(images, labels)"),
    ),
    Case(
        name="images of no kind",
        typed=RUN + "--data own:data",
        prepare=data("(['a'], [0])"),
        says=("own:data", "images"),
    ),
]
