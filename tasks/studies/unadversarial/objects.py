"""The study's second task: textures of solids (arXiv:2012.12235, sections 2 and 3.3).

Each solid gets a texture by which a frozen classifier recognises it best, designed on views of our own renderer before
training images. Held-out views before test images compare it with three textures that nobody designed; MuJoCo, which
the design has not seen, judges again, in weather that it has not seen either. The last question is whether it is the
solid that is recognised: a texture that is designed for the next class on the same solid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import NEEDS, check_alike, settled
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.render.cameras import Views
from robustray.tasks.render.reference import mesh_reference
from robustray.tasks.render.simulator import NoGl, require_gl
from robustray.tasks.render.solids import SOLIDS
from robustray.tasks.render.weather import STRENGTHS, WEATHERS
from robustray.tasks.studies.unadversarial import object_findings
from robustray.tasks.studies.unadversarial.doors import open_images, with_classifiers
from robustray.tasks.studies.unadversarial.making import classifiers, surest, training_losses
from robustray.tasks.studies.unadversarial.object_results import SWAPPED, TEXTURES, ObjectResults
from robustray.tasks.studies.unadversarial.reduce import Chain
from robustray.tasks.studies.unadversarial.settings import Settings
from robustray.tasks.studies.unadversarial.textures import (
    CLEAR,
    GREY,
    NOISE,
    Condition,
    Renderer,
    Scenery,
    Seen,
    TextureSettings,
    seen_block,
    texture_block,
    texture_design,
    view_block,
)
from robustray.tasks.study import Opened
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.study import Findings

HELD_OUT = 1_000_000
"""Seeds of held-out views and backgrounds are so far from those of designs."""
NUM_SHOWN, SHOWN_SEVERITY = 6, 3
BLOCK = 50
"""Views per block: a context of OpenGL is made for each."""
CONDITIONS = (CLEAR, *(Condition(weather, severity) for weather in WEATHERS for severity in STRENGTHS))


def solids(settings: Settings, images: ImageData) -> dict[str, int]:
    """Name of each solid -> its label. Raises: InputError for a class that there is not, and for one class twice."""
    named = (
        {settings.mesh: settings.mesh_class}
        if settings.mesh
        else dict(zip(SOLIDS, settings.solid_classes, strict=True))
    )
    for name in named.values():
        if name not in images.classes:
            flag = "mesh_class" if settings.mesh else "solid_classes"
            raise InputError(f"{flag}: {images.name} has no class {name!r}{nearest(name, images.classes)}")
    if len(set(named.values())) < len(named):
        raise InputError(f"solid_classes: {', '.join(named.values())} names one twice")
    return {solid: images.classes.index(name) for solid, name in named.items()}


def alone(settings: Settings) -> Settings:
    """Without what patches need of classifiers besides."""
    return replace(settings, other_models=(), joint=False)


def door(settings: Settings, lab: Lab) -> Opened:
    """Open images, meshes and classifiers, and see that MuJoCo can draw. Raises: InputError."""
    settings = alone(settings)
    refs = open_images(settings, lab)
    train, test = (lab.load(ref) for ref in refs)
    check_alike(train, test)
    if train.shape[0] != 3 or train.shape[1] != train.shape[2]:
        raise InputError(f"{train.name} has images {train.shape}: solids are rendered as colour images, and square")
    mine = solids(settings, train)
    for images, least in ((train, settings.texture_batch), (test, 1)):
        count = int((~np.isin(images.labels, list(mine.values()))).sum())
        if count < least:
            raise InputError(f"{images.name} has {count} images of other classes to serve as backgrounds, not {least}")
    for label in mine.values():
        if not (train.labels == label).any():
            raise InputError(f"{train.name}: there is no image of class {train.classes[label]!r} to make a texture of")
    if settings.num_weather_views:
        try:
            require_gl()
        except NoGl as error:
            raise NoGl(f"{error}; or --num-weather-views 0: textures without their judge") from error
    opened = {f"data {ref.name}": ref for ref in refs} | {f"mesh {name}": mesh_reference(name) for name in mine}
    return with_classifiers(settings, lab, train, opened, settings.texture_ascent(0, settings.precision))


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(alone(settings), lab, "precision")
    models, _ = classifiers(settings, lab)
    train, test = open_images(settings, lab)
    images: ImageData = lab.load(test)
    mine = solids(settings, images)
    workshop = Workshop(settings=settings, lab=lab, train=train, test=test, models=models, mine=mine)
    chains = [Chain(name, 0) for name in models]

    # 1. Textures: designed for the solid's class and for the next solid's, grey, of noise, the best training image.
    wanted = [(chain, solid, label) for chain in chains for solid in mine for label in workshop.labels_for(solid)]
    designing = lab.optimise("texture-design", [workshop.design(*each) for each in wanted])
    plain = workshop.plain(chains)
    designed = dict(zip(wanted, designing.result(), strict=True))
    textures = plain | {
        (chain, solid, "designed" if label == mine[solid] else SWAPPED): found.ref
        for (chain, solid, label), found in designed.items()
    }

    # 2. Held-out views, by the renderer of the design and by MuJoCo, there in all weathers.
    views, few = range(settings.num_views), range(settings.num_weather_views)
    ours = {
        (chain, solid, name): workshop.look(chain, solid, ref, views, "torch")
        for (chain, solid, name), ref in textures.items()
    }
    judged = {
        (chain, solid, name): workshop.look(chain, solid, ref, few, "mujoco", CONDITIONS)
        for (chain, solid, name), ref in textures.items()
        if few and name != SWAPPED
    }
    pictures = {
        (solid, name): workshop.pictures(solid, textures[chains[0], solid, name]) for solid in mine for name in TEXTURES
    }

    # 3. What it says.
    return object_findings.found(
        ObjectResults(
            settings=settings,
            classes=images.classes,
            mine=mine,
            chains=tuple(chains),
            conditions=CONDITIONS,
            ours={key: answers(handle) for key, handle in ours.items()},
            judged={key: answers(handle) for key, handle in judged.items()},
            covers={solid: float(ours[chains[0], solid, "grey"].result().covers.mean()) for solid in mine},
            curves={key: found.curve for key, found in designed.items()},
            textures={
                (solid, name): np.array(lab.load(textures[chains[0], solid, name])["texture"]).reshape(
                    3, settings.texture_side, settings.texture_side
                )
                for solid in mine
                for name in TEXTURES
            },
            pictures={key: handle.result() for key, handle in pictures.items()},
        )
    )


def answers(handle: Handle[pd.DataFrame]) -> NDArray[np.int16]:
    """(views, conditions): what was answered."""
    return np.stack(list(handle.result().predictions))


@dataclass(frozen=True, kw_only=True, eq=False)
class Workshop:
    """Asks the lab for textures and looks."""

    settings: Settings
    lab: Lab
    train: Reference
    test: Reference
    models: Mapping[str, Reference]
    mine: Mapping[str, int]

    @cached_property
    def meshes(self) -> dict[str, Reference]:
        return {name: mesh_reference(name) for name in self.mine}

    @cached_property
    def scenery(self) -> Scenery:
        return Scenery(
            elsewhere=tuple(sorted(self.mine.values())), views=Views(), texture_side=self.settings.texture_side
        )

    def labels_for(self, solid: str) -> list[int]:
        """Classes that textures of this solid are designed for: its own, and that of the next solid, if any."""
        labels = list(self.mine.values())
        place = list(self.mine).index(solid)
        return list(dict.fromkeys([labels[place], labels[(place + 1) % len(labels)]]))

    def design(self, chain: Chain, solid: str, label: int) -> OptimiseSpec:
        seed = self.settings.design_seed(*chain)
        return OptimiseSpec(
            function=texture_design,
            settings=TextureSettings(
                scenery=self.scenery,
                label=label,
                ascent=self.settings.texture_ascent(seed, self.settings.precision),
                num_views=self.settings.num_design_views,
            ),
            seed=seed,
            refs={"model": self.models[chain.model], "data": self.train, "mesh": self.meshes[solid]},
            needs=NEEDS,
        )

    def plain(self, chains: Sequence[Chain]) -> dict[tuple[Chain, str, str], Reference]:
        """Textures that nobody designed, by chain, solid and name."""
        losses = training_losses(self.settings, self.lab, self.train, self.models)
        made: dict[tuple[Chain, str, str], Reference] = {}
        for chain in chains:
            items = {(solid, "grey"): GREY for solid in self.mine} | {(solid, "random"): NOISE for solid in self.mine}
            best = surest(losses[chain.model], list(self.mine.values()))
            items |= {(solid, "training image"): index for solid, index in zip(self.mine, best, strict=True)}
            seed = self.settings.design_seed(*chain)
            asked = {item: self._texture(item, seed) for item in sorted(set(items.values()))}
            made |= {(chain, *key): asked[item] for key, item in items.items()}
        return made

    def _texture(self, item: int, seed: int) -> Reference:
        found = self.lab.map(
            "textures",
            texture_block,
            [item],
            block=1,
            seed=seed,
            settings=self.settings.texture_side,
            refs={"data": self.train},
        )
        return self.lab.rows(f"texture {item} of seed {seed}", found, ["texture"])

    def look(
        self,
        chain: Chain,
        solid: str,
        texture: Reference,
        views: Sequence[int],
        renderer: Renderer,
        conditions: tuple[Condition, ...] = (CLEAR,),
    ) -> Handle[pd.DataFrame]:
        """Rows of `seen_block`. All textures of a classifier are seen in the same views."""
        return self.lab.map(
            "views",
            seen_block,
            views,
            block=BLOCK,
            seed=self.settings.seed + HELD_OUT + list(self.models).index(chain.model),
            settings=Seen(scenery=self.scenery, renderer=renderer, conditions=conditions),
            refs=self._refs(solid, texture) | {"model": self.models[chain.model]},
            needs=NEEDS,
        )

    def pictures(self, solid: str, texture: Reference) -> Handle[pd.DataFrame]:
        """A few images as the first classifier saw them, clear and, where MuJoCo draws, in each weather."""
        judged = self.settings.num_weather_views > 0
        return self.lab.map(
            "pictures",
            view_block,
            range(min(NUM_SHOWN, self.settings.num_views)),
            block=BLOCK,
            seed=self.settings.seed + HELD_OUT,
            settings=Seen(
                scenery=self.scenery,
                renderer="mujoco" if judged else "torch",
                conditions=(CLEAR, *(Condition(weather, SHOWN_SEVERITY) for weather in WEATHERS if judged)),
            ),
            refs=self._refs(solid, texture),
        )

    def _refs(self, solid: str, texture: Reference) -> dict[str, Reference]:
        return {"mesh": self.meshes[solid], "texture": texture, "data": self.test}
