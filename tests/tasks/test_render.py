"""The two renderers: closed forms, each other, finite differences; files that are no meshes; weather."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from robustray.tasks.errors import InputError
from robustray.tasks.render.cameras import Cameras, Light, Views
from robustray.tasks.render.meshes import Mesh, normalised, uv_areas
from robustray.tasks.render.obj import obj_text, read_obj
from robustray.tasks.render.parts import assembled, box
from robustray.tasks.render.raster import Geometry, rasterise, reduced, textured
from robustray.tasks.render.simulator import NoGl, Stage, as_frames, require_gl
from robustray.tasks.render.solids import SOLIDS, solid
from robustray.tasks.render.weather import WEATHERS, Weather, light_in, weathered

PSNR = 30.0
"""Between the renderers inside a solid, in dB, for a smooth texture of 64 texels on 96 pixels; measured: 34 to 38."""


def ahead(distance: float = 3.0, shift: tuple[float, float] = (0.0, 0.0)) -> Cameras:
    """One camera on the x axis: y of the world is to its right side's opposite, z is up. Field of view 90 degrees."""
    return Cameras(torch.tensor([[distance, 0.0, 0.0]]).double(), torch.tensor([shift]).double(), 1.0)


def one_square() -> Mesh:
    """The square of side 2 in the plane x = 0 that looks along x; u runs along y, v along z."""
    corners = np.array([[[0, -1, -1], [0, 1, -1], [0, 1, 1]], [[0, -1, -1], [0, 1, 1], [0, -1, 1]]], dtype=np.float64)
    return Mesh(name="square", corners=corners, uvs=(corners[:, :, 1:] + 1) / 2)


@pytest.fixture(name="gl", scope="session")
def gl_fixture(lacking: Callable[[str], NoReturn]) -> None:
    try:
        require_gl()
    except NoGl as error:
        lacking(str(error))


def smooth(side: int = 64, seed: int = 0) -> Tensor:
    """A texture (1, 3, side, side) of soft colours."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


# --- Closed forms -----------------------------------------------------------------------------------------------------


def test_texture_coordinates_of_a_square_follow_from_similar_triangles() -> None:
    """From distance 3 and with a right angle of view, the image is 6 wide at the square."""
    side = 60
    surface = rasterise(Geometry(one_square()), ahead(), side)
    centre = (torch.arange(side) + 0.5) / side * 6 - 3
    seen = centre.abs() < 1
    assert torch.equal(surface.mask[0, 0] > 0, seen[:, None] & seen[None])
    u, v = surface.uv[0, :, seen][seen].unbind(2)
    assert torch.allclose(u, ((centre[seen] + 1) / 2)[None].expand_as(u), atol=1e-6)
    assert torch.allclose(v, ((1 - centre[seen]) / 2)[:, None].expand_as(v), atol=1e-6)
    assert torch.allclose(surface.depth[0][seen][:, seen], torch.tensor(3.0))


def test_perspective_is_in_the_texture_too() -> None:
    """A cube's top face from above its front: the middle of the picture of an edge is not the middle of the texture.

    Expected for each pixel: where its line of sight meets the plane z = 1/2, in closed form.
    """
    corners = np.array([[-0.5, -0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, 0.5], [-0.5, 0.5, 0.5]])
    top = corners[[[0, 1, 2], [0, 2, 3]]]
    face = Mesh(name="top", corners=top, uvs=top[:, :, :2] + 0.5)
    eye = torch.tensor([[2.0, 0.3, 1.8]]).double()
    cameras, side = Cameras(eye, torch.tensor([[0.1, -0.05]]).double(), 0.5), 64
    surface = rasterise(Geometry(face), cameras, side)
    place = (torch.arange(side).double() + 0.5) / side * 2 - 1
    right, up, forward = (axis[0] for axis in cameras.axes())
    x, y = (place - 0.2)[None, :, None], (-place + 0.1)[:, None, None]  # the shift, out of the picture again
    ray = forward + 0.5 * (x * right + y * up)
    hit = eye[0] + ray * ((0.5 - eye[0, 2]) / ray[..., 2:])
    inside = (hit[..., :2].abs() < 0.499).all(2)
    assert inside.sum() > 100 and (surface.mask[0, 0][inside] > 0).all()
    assert torch.allclose(surface.uv[0][inside].double(), hit[..., :2][inside] + 0.5, atol=1e-5)
    assert torch.allclose(surface.depth[0][inside].double(), ((hit - eye[0]) @ forward)[inside], atol=1e-5)


def test_the_nearest_of_three_visible_faces_of_a_cube_is_drawn() -> None:
    """Whatever the order of its triangles; from a corner a cube's outline is a hexagon without gaps."""
    cube = assembled("cube", [box((-1, -1, -1), (1, 1, 1))])
    cameras = Views(shift=0.0).cameras(3, torch.arange(8))
    surface = rasterise(Geometry(cube), cameras, 48)
    turned = Mesh(name="cube", corners=cube.corners[::-1].copy(), uvs=cube.uvs[::-1].copy())
    again = rasterise(Geometry(turned), cameras, 48)
    assert torch.equal(surface.mask, again.mask) and torch.equal(surface.depth, again.depth)
    rows = surface.mask[:, 0].bool()
    filled = rows.cumsum(2).bool() & rows.flip(2).cumsum(2).flip(2).bool()
    assert torch.equal(rows, filled), "a convex solid has no holes"
    distance = cameras.eye.norm(dim=1).float()
    nearest = torch.where(rows, surface.depth, torch.inf).amin((1, 2))
    assert (nearest > distance - 1.0001).all() and (nearest < distance).all()


def test_a_shift_moves_the_picture_by_whole_pixels() -> None:
    plain = rasterise(Geometry(solid("car")), ahead(), 40)
    moved = rasterise(Geometry(solid("car")), ahead(shift=(0.1, 0.05)), 40)
    assert torch.equal(moved.mask[..., :-2, 4:], plain.mask[..., 2:, :-4])
    assert torch.allclose(moved.uv[:, :-2, 4:], plain.uv[:, 2:, :-4], atol=1e-5)


def test_light_falls_by_the_cosine() -> None:
    light = Light(direction=(1, 0, 0), ambient=(0.2, 0.2, 0.2), lamp=(0.5, 0.4, 0.3))
    normals = torch.tensor([[1.0, 0, 0], [0.5, 0.75**0.5, 0], [-1, 0, 0]])
    expected = torch.tensor([[0.7, 0.6, 0.5], [0.45, 0.4, 0.35], [0.2, 0.2, 0.2]])
    assert torch.allclose(light.shade(normals), expected)


# --- Gradients, and drawing by index ----------------------------------------------------------------------------------


def test_the_gradient_by_the_texture_is_that_of_finite_differences() -> None:
    surface = rasterise(Geometry(solid("ship")), Views().cameras(1, torch.arange(2)), 24)
    surface = type(surface)(*(part.double() for part in surface))
    texture = smooth(12).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: reduced(textured(t, surface), surface.mask, 2)[0], (texture,))


def test_views_depend_on_their_index_only() -> None:
    views, geometry = Views(), Geometry(solid("airplane"))
    whole = rasterise(geometry, views.cameras(5, torch.arange(7)), 32)
    part = rasterise(geometry, views.cameras(5, torch.tensor([4, 2])), 32)
    for all_of_them, two in zip(whole, part, strict=True):
        assert torch.equal(all_of_them[[4, 2]], two)
    assert not torch.equal(views.cameras(6, torch.arange(7)).eye, views.cameras(5, torch.arange(7)).eye)
    eyes = views.cameras(0, torch.arange(4_000)).eye
    distance = eyes.norm(dim=1)
    assert ((distance >= 2) & (distance < 3)).all()
    assert ((eyes / distance[:, None]).mean(0).abs() < 0.04).all(), "directions are uniform on the sphere"


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_whole(name: str) -> None:
    """Of radius 1, finely divided, and no two facets share a place in the texture."""
    mesh = solid(name)
    assert len(mesh) >= 2_000 and mesh.size == pytest.approx(1)
    points = np.random.default_rng(0).random((1_000, 2))
    a, b, c = mesh.uvs.transpose(1, 0, 2)
    inside = np.zeros(len(points), dtype=int)
    orientation = np.sign(uv_areas(mesh.uvs))
    for number, point in enumerate(points):
        sides = [uv_areas(np.stack(np.broadcast_arrays(p, q, point), axis=1)) for p, q in ((a, b), (b, c), (c, a))]
        inside[number] = (np.stack(sides) * orientation > 1e-12).all(0).sum()
    assert inside.max() == 1, "the unfolding overlaps itself"
    covered = np.abs(uv_areas(mesh.uvs)).sum() / 2
    assert covered > 0.35 and (inside == 1).mean() == pytest.approx(covered, abs=0.05)


# --- Files ------------------------------------------------------------------------------------------------------------

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


def test_a_mesh_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ship.obj"
    file.write_text(obj_text(solid("ship")))
    read = read_obj(file)
    assert read.name == "ship" and np.allclose(read.corners, solid("ship").corners, atol=1e-8)
    assert np.allclose(read.uvs, solid("ship").uvs, atol=1e-8)


def test_polygons_are_cut_and_other_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "quad.obj"
    file.write_text(
        "mtllib x.mtl\no quad\nv 0 0 0\nv 2 0 0 # a comment\nv 2 2 0\nv 0 2 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "vn 0 0 1\ns off\nf 1/1/1 2/2/1 -2/-2/1 -1/-1/1\n"
    )
    mesh = read_obj(file)
    assert mesh.corners.tolist() == [[[0, 0, 0], [2, 0, 0], [2, 2, 0]], [[0, 0, 0], [2, 2, 0], [0, 2, 0]]]
    assert mesh.uvs.tolist() == [[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]]


def test_a_mesh_that_is_inside_out_is_turned() -> None:
    car = solid("car")
    inner = Mesh(name="car", corners=5 + 3 * car.corners[:, ::-1], uvs=car.uvs[:, ::-1])
    outer = normalised(inner)
    assert np.allclose(outer.areas, car.areas)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "line 4: the corner 1 has no texture coordinate.*UVs"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1\n", "no texture coordinate"),
        (TRIANGLE + "f 1/1 2/2 2/3\n", "triangle 0 has no area"),
        (TRIANGLE + "f 1/1 2/2 3/2\n", "no area in its UVs"),
        (TRIANGLE + "f 1/1 2/2 4/3\n", "line 7: index 4, but there are 3"),
        (TRIANGLE + "f 1/1 2/2 0/3\n", "index 0"),
        (TRIANGLE + "f 1/1 2/2\n", "a face of 2 corners"),
        (TRIANGLE + "f 1/1 2/2 x/3\n", "'x' is no index"),
        (TRIANGLE.replace("vt 0 1", "vt 0 3") + "f 1/1 2/2 3/3\n", r"UVs from 0 to 3.*\[0, 1\]"),
        (TRIANGLE.replace("v 0 1 0", "v 0 1") + "f 1/1 2/2 3/3\n", "line 3: expected 3 numbers, got 0 1"),
        (TRIANGLE.replace("v 0 1 0", "v 0 nan 0") + "f 1/1 2/2 3/3\n", "finite"),
        (TRIANGLE, "holds no faces"),
        ("", "holds no faces"),
    ],
)
def test_files_that_are_no_meshes_are_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.obj"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        read_obj(file)


def test_files_that_are_too_large_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_obj(tmp_path / "none.obj")
    file = tmp_path / "many.obj"
    file.write_text(TRIANGLE + 3 * "f 1/1 2/2 3/3\n")
    monkeypatch.setattr("robustray.tasks.render.obj.MAX_TRIANGLES", 2)
    with pytest.raises(InputError, match="line 9: more than 2 triangles"):
        read_obj(file)
    monkeypatch.setattr("robustray.tasks.render.obj.MAX_BYTES", 10)
    with pytest.raises(InputError, match="MB, at most"):
        read_obj(file)


# --- The other renderer -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize("name", SOLIDS)
def test_both_renderers_draw_the_same(name: str) -> None:
    """The same pixels, the same depth, and the colours within the bound for one texel near one pixel."""
    cameras, texture = Views().cameras(2, torch.arange(4)), smooth()
    surface = rasterise(Geometry(solid(name)), cameras, 96)
    with Stage({name: solid(name)}, texture_sides={name: 64}, side=96) as stage:
        stage.texture(name, texture[0].numpy())
        colours, depth = (torch.from_numpy(array) for array in as_frames(stage, cameras))
    there, ours = depth < 40, surface.mask[:, 0] > 0
    assert (there == ours).float().mean() > 0.999
    both = there & ours
    assert (depth - surface.depth)[both].abs().median() < 1e-4
    error = (colours - textured(texture, surface)).square().mean(1)[both].mean()
    assert -10 * error.log10() > PSNR
    upside_down = (colours - textured(texture.flip(2), surface)).square().mean(1)[both].mean()
    assert -10 * upside_down.log10() < 20, "v must be turned over exactly once"


@pytest.mark.usefixtures("gl")
def test_stages_beside_each_other_and_one_after_the_other_draw_alike() -> None:
    """Textures and light are a stage's own; what is drawn does not depend on what was drawn before."""
    cameras, mesh = Views().cameras(2, torch.arange(2)), solid("car")
    white, grey = np.ones((3, 8, 8)), np.full((3, 8, 8), 0.5)
    sizes = {"car": 8}
    with (
        Stage({"car": mesh}, texture_sides=sizes, side=32) as first,
        Stage({"car": mesh}, texture_sides=sizes, side=32) as other,
    ):
        first.texture("car", white)
        other.texture("car", grey)
        bright, _ = first.frame(cameras, 0)
        dark, _ = other.frame(cameras, 0)
        first.frame(cameras, 1)
        first.light(Light(ambient=(0.1, 0.1, 0.1), lamp=(0.0, 0.0, 0.0)))
        dim, _ = first.frame(cameras, 0)
        first.light(Light())
        assert np.array_equal(first.frame(cameras, 0)[0], bright)
    inside = bright[0] > 0
    assert inside.any() and np.abs(dark[:, inside] * 2.0 - bright[:, inside]).max() <= 3
    assert set(np.unique(dim[:, inside])) <= {25, 26}


def test_without_gl_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    with pytest.raises(NoGl, match=r"MuJoCo cannot draw here .*apt-get install libegl1"):
        require_gl()


@pytest.mark.acceptance
@pytest.mark.usefixtures("gl")
def test_an_optimizer_can_be_made_after_a_context() -> None:
    """Mesa's compiler and triton's in one process, in the order in which we load them; a process of its own."""
    code = "from robustray.tasks.render.simulator import require_gl; require_gl(); import torch._dynamo"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_an_unknown_renderer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(NoGl, match="'vulkan': egl, osmesa or glfw"):
        require_gl()


# --- Weather ----------------------------------------------------------------------------------------------------------


def test_fog_hides_by_distance() -> None:
    images, depth = torch.zeros(1, 3, 1, 2), torch.tensor([[[0.0, 1e6]]])
    (near, far), *_ = weathered(images, depth, "fog", 3, unit=1.0, seed=0, indices=torch.arange(1))[0, :, 0]
    assert near == 0 and far == pytest.approx(0.8)
    half = weathered(images, torch.full((1, 1, 2), 2.0), "fog", 3, unit=4.0, seed=0, indices=torch.arange(1))
    assert half[0, 0, 0, 0] == pytest.approx(0.8 * (1 - np.exp(-0.45)))


@pytest.mark.parametrize("weather", [weather for weather in WEATHERS if weather != "dusk"])
def test_weather_grows_stays_in_range_and_depends_on_the_index_only(weather: Weather) -> None:
    images, depth = torch.full((6, 3, 32, 32), 0.3), torch.full((6, 32, 32), 1.0)
    change, indices = [], torch.arange(6)
    for severity in range(1, 6):
        seen = weathered(images, depth, weather, severity, unit=1.0, seed=4, indices=indices)
        assert seen.min() >= 0 and seen.max() <= 1
        part = weathered(images[:2], depth[:2], weather, severity, unit=1.0, seed=4, indices=indices[[5, 1]])
        assert torch.allclose(part, seen[[5, 1]], atol=1e-6)
        change.append(float((seen - images).abs().mean()))
    assert change == sorted(change) and change[0] < 0.15 and change[-1] > 0.2


def test_dusk_is_a_light_and_clear_is_nothing() -> None:
    assert light_in("clear", 0) == light_in("fog", 5) == Light()
    levels = [sum(light_in("dusk", severity).ambient) for severity in range(1, 6)]
    assert levels == sorted(levels, reverse=True) and levels[0] < sum(Light().ambient)
    images = torch.rand(2, 3, 4, 4)
    for weather, severity in (("clear", 0), ("dusk", 5)):
        same = weathered(images, torch.ones(2, 4, 4), weather, severity, unit=1, seed=0, indices=torch.arange(2))  # type: ignore[arg-type]
        assert torch.equal(same, images)
    with pytest.raises(InputError, match="fog must be 1 to 5, got 6"):
        light_in("fog", 6)
    with pytest.raises(InputError, match="'hail'"):
        light_in("hail", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"nearest": 1.0}, "at least|within 1.1"),
        ({"nearest": 4.0}, "in order"),
        ({"shift": 0.6}, "shift"),
        ({"angle": 0.0}, "field of view"),
    ],
)
def test_views_that_cannot_be_drawn_are_refused(changed: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Views(**changed)
