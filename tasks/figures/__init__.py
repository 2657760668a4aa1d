"""Every figure and picture of every study: a study passes data and words, never styling.

Importing this package is light; Matplotlib and Pillow are loaded when something is drawn.
"""

from robustray.tasks.figures.bars import Bar, bars
from robustray.tasks.figures.curves import Level, Series, curve, eps_ticks
from robustray.tasks.figures.forms import Row, dot_rows, heat_map
from robustray.tasks.figures.gallery import gallery, room_for
from robustray.tasks.figures.many import Group, Sample, cloud, histogram
from robustray.tasks.figures.pairs import Pair, paired_dots
from robustray.tasks.figures.parallel import Combination, parallel
from robustray.tasks.figures.pictures import image_grid, image_rows, magnified, one_image, signed
from robustray.tasks.figures.scatter import Point, scatter
from robustray.tasks.figures.style import Palette

__all__ = [
    "Bar",
    "Combination",
    "Group",
    "Level",
    "Pair",
    "Palette",
    "Point",
    "Row",
    "Sample",
    "Series",
    "bars",
    "cloud",
    "curve",
    "dot_rows",
    "eps_ticks",
    "gallery",
    "heat_map",
    "histogram",
    "image_grid",
    "image_rows",
    "magnified",
    "one_image",
    "paired_dots",
    "parallel",
    "room_for",
    "scatter",
    "signed",
]
