"""One ViZDoom session: a Freedoom map, an agent that walks in it, and exact frames.

Coordinates are Doom's: map units (an agent is 56 tall, a wide door 128), x east, y north, angles
in degrees counter-clockwise from east. Images are [H, W, 3].
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.core import rng
from foveal.core.packages import package
from foveal.errors import FovealError

MAPS = tuple(f"MAP{n:02d}" for n in range(1, 33))
# Every fourth map, so that both parts hold early (small, bright) and late (large, dark) maps.
TEST_MAPS = MAPS[3::4]
TRAIN_MAPS = tuple(m for m in MAPS if m not in TEST_MAPS)

# ViZDoom's depth buffer has 8 bits: a step is 7.34 map units, and what lies farther than 254 steps
# reads 255. Fitted to 2,900 sprites whose distance along the optical axis the game tells
# (residual 2.1 units: that of the rounding).
DEPTH_UNIT, DEPTH_OFFSET = 7.34, 6.0

_T = TypeVar("_T")
_VOID = -32000  # z of what lies outside, map units
_THING = struct.Struct("<5h")


class Dice:
    """A keyed sequence of draws: the same names give the same draws on every machine."""

    def __init__(self, seed: int, *names: str | int) -> None:
        self._key = rng.key(seed, "doom", *names)
        self._block = -1
        self._left: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        if not self._left:
            self._block += 1
            draws = rng.uniform(self._key, np.array([self._block], np.int64), 256)
            self._left = draws[0, ::-1].tolist()
        return low + (high - low) * self._left.pop()

    def integer(self, n: int) -> int:
        """An integer in [0, n)."""
        return min(int(self.uniform() * n), n - 1)

    def choice(self, items: Sequence[_T]) -> _T:
        """One of the items."""
        return items[self.integer(len(items))]


@dataclass(frozen=True)
class Seen:
    """One object in a frame.

    Attributes:
        name: Its actor class, e.g. ``Cacodemon``.
        id: Its number in the session, the same in every frame.
        value: Its value in the mask image.
        box: x, y, width, height in pixels of what is visible.
        position: x, y, z in map units.
    """

    name: str
    id: int
    value: int
    box: tuple[int, int, int, int]
    position: tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """What the agent sees.

    Attributes:
        image: uint8 [H, W, 3].
        masks: uint8 [H, W], ``Seen.value`` of the object, 0 or 1 elsewhere.
        depth: uint8 [H, W] as ViZDoom gives it, see ``DEPTH_UNIT``.
        seen: The objects in view, the agent left out.
        position: x, y, z of the agent in map units.
        angle: Where it looks, degrees.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    depth: NDArray[np.uint8]
    seen: tuple[Seen, ...]
    position: tuple[float, float, float]
    angle: float

    def ahead(self, seen: Seen) -> float:
        """Distance of an object along the optical axis, in map units."""
        dx, dy = seen.position[0] - self.position[0], seen.position[1] - self.position[1]
        turn = math.radians(self.angle)
        return dx * math.cos(turn) + dy * math.sin(turn)


class World:
    """A map with an agent in it that nothing hurts and nothing hunts; a context manager.

    Args:
        map_name: One of ``MAPS``.
        seed: Of the game's own random numbers.
        resolution: Width and height, one of ViZDoom's, e.g. (320, 240).
        hunted: Monsters see the agent and come (they cannot hurt it).
    """

    def __init__(
        self,
        map_name: str,
        seed: int,
        resolution: tuple[int, int] = (320, 240),
        hunted: bool = False,
    ) -> None:
        vzd = import_vizdoom()
        if map_name not in MAPS:
            raise FovealError(f"Freedoom has no map {map_name}", hint=f"{MAPS[0]} to {MAPS[-1]}")
        self.map_name, self.resolution, self._hunted = map_name, resolution, hunted
        # ViZDoom writes its configuration file; it must not land where the user stands.
        self._folder = tempfile.TemporaryDirectory(prefix="foveal-doom-")
        game = vzd.DoomGame()
        game.set_doom_config_path(str(Path(self._folder.name) / "vizdoom.ini"))
        game.set_doom_game_path(str(wad_path()))
        game.set_doom_map(map_name.lower())
        game.set_screen_format(vzd.ScreenFormat.RGB24)
        game.set_screen_resolution(getattr(vzd.ScreenResolution, "RES_{}X{}".format(*resolution)))
        game.set_labels_buffer_enabled(True)
        game.set_depth_buffer_enabled(True)
        for switch in ("hud", "weapon", "crosshair", "messages", "screen_flashes", "particles"):
            getattr(game, f"set_render_{switch}")(False)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vzd.Mode.PLAYER)
        game.set_doom_skill(3)
        game.set_seed(seed)
        game.set_available_buttons(
            [
                vzd.Button.MOVE_FORWARD_BACKWARD_DELTA,
                vzd.Button.MOVE_LEFT_RIGHT_DELTA,
                vzd.Button.TURN_LEFT_RIGHT_DELTA,
                vzd.Button.USE,
            ]
        )
        game.set_available_game_variables(
            [
                getattr(vzd.GameVariable, name)
                for name in ("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE")
            ]
        )
        # The map's own power-ups stay away: picking one up recolours the whole picture.
        game.add_game_args("+sv_cheats 1 +alwaysapplydmflags 1 +sv_noitems 1")
        game.add_game_args("+cl_showsecretmessage 0")
        self._game = game
        try:
            game.init()
        except (
            vzd.FileDoesNotExistException,
            vzd.ViZDoomErrorException,
            vzd.ViZDoomUnexpectedExitException,
            vzd.SharedMemoryException,
            vzd.MessageQueueException,
        ) as error:
            self._folder.cleanup()
            raise FovealError(f"ViZDoom did not start on {map_name}: {error}") from error
        self._cheat()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._game.close()
        self._folder.cleanup()

    def restart(self) -> None:
        """Begins the map anew, without what was summoned."""
        self._game.new_episode()
        self._cheat()

    def step(
        self,
        forward: float = 0.0,
        right: float = 0.0,
        turn: float = 0.0,
        tics: int = 1,
        use: bool = False,
        draw: bool = True,
    ) -> None:
        """Moves on by ``tics`` of 1/35 s.

        Args:
            forward: Speed in Doom's units (50 is a run), negative is back.
            right: The same, to the right.
            turn: Degrees to the right in all.
            tics: How long.
            use: Press the use key (doors, switches).
            draw: Whether ``look`` follows; drawing is most of the cost.
        """
        self._game.set_action([forward, right, turn / tics, float(use)])
        self._game.advance_action(tics, draw)
        if self._game.is_episode_finished():  # an exit
            self.restart()

    def warp(self, x: float, y: float) -> None:
        """Puts the agent elsewhere, on the floor there."""
        self.command(f"warp {x:.0f} {y:.0f}")

    def summon(self, actor: str, angle: float = 0.0) -> None:
        """Puts an object right before the agent.

        Args:
            actor: Its actor class.
            angle: Where it looks, in degrees from where the agent looks.
        """
        self.command(f"summon {actor} {angle:.0f}")

    def command(self, text: str) -> None:
        """Runs a console command; it takes effect with the next step."""
        self._game.send_game_command(text)

    def inside(self) -> bool:
        """Whether the agent stands in the map, not in the void around it."""
        return float(self._game.get_state().game_variables[2]) > _VOID

    def look(self) -> Frame:
        """The frame before the agent."""
        state = self._game.get_state()
        x, y, z, angle = (float(v) for v in state.game_variables)
        seen = tuple(
            Seen(
                label.object_name,
                label.object_id,
                label.value,
                (label.x, label.y, label.width, label.height),
                (label.object_position_x, label.object_position_y, label.object_position_z),
            )
            for label in state.labels
            if label.object_name != "DoomPlayer"
        )
        return Frame(
            np.array(state.screen_buffer),
            np.array(state.labels_buffer),
            np.array(state.depth_buffer),
            seen,
            (x, y, z),
            angle,
        )

    def _cheat(self) -> None:
        self.command("god")
        if not self._hunted:
            self.command("notarget")
        self.step(tics=2)


def set_scene(world: World, dice: Dice, actors: Sequence[str]) -> None:
    """Goes to a random spot of the map, puts objects there, and steps back from them."""
    places = spots(world.map_name)
    for _ in range(20):
        world.warp(*dice.choice(places))
        world.step(turn=dice.uniform(0, 360), tics=3)
        if world.inside():
            break
    else:
        raise FovealError(f"{world.map_name} has no place to stand on")
    retreat = dice.uniform(0.2, 1.1)  # small things must be seen from near, large ones from far
    for actor in actors:
        world.summon(actor, dice.uniform(0, 360))
        world.step(
            retreat * dice.uniform(-50, -10), dice.uniform(-40, 40), dice.uniform(-50, 50),
            tics=3 + dice.integer(6), draw=False,
        )  # fmt: skip


def import_vizdoom() -> Any:
    """The package, or an error that says how to get it."""
    return package("vizdoom", extra="worlds", why="the Doom world needs ViZDoom")


def wad_path() -> Path:
    """The Freedoom maps that ViZDoom brings."""
    path = Path(import_vizdoom().__file__).parent / "freedoom2.wad"
    if not path.is_file():
        raise FovealError(
            f"this ViZDoom brings no Freedoom maps ({path} is missing)",
            hint="pip install --force-reinstall 'vizdoom>=1.2.4'",
        )
    return path


def pick(maps: Sequence[str], used: int) -> list[str]:
    """``used`` of the maps, from the first on, at even distances."""
    return [maps[i * len(maps) // used] for i in range(used)]


def spread(n: int, maps: Sequence[str], at_least: int = 1) -> list[tuple[str, int]]:
    """Shares ``n`` pictures out over maps as evenly as can be.

    A small set comes from few maps, since starting one has its price: each that is used gives
    ``at_least`` pictures (or all).
    """
    used = min(len(maps), max(1, n // at_least))
    shares = [n * (i + 1) // used - n * i // used for i in range(used)]
    return list(zip(pick(maps, used), shares, strict=True))


def clear_view(frame: Frame) -> bool:
    """Whether a frame shows something: neither dark nor the wall before the agent's nose.

    Nor a place too low to stand in, where the eye is pressed against the ceiling and ViZDoom's
    depth overflows: only there are floor, ceiling or wall within one step of depth.
    """
    grey = frame.image.mean(axis=2)
    pressed = ((frame.depth == 0) & ~np.isin(frame.masks, [s.value for s in frame.seen])).any()
    return bool(grey.mean() > 22 and grey.std() > 12 and np.median(frame.depth) > 6 and not pressed)


def map_units(depth: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Depth along the optical axis in map units; 0 where it is too far to be known."""
    units = np.rint(depth * DEPTH_UNIT + DEPTH_OFFSET).astype(np.uint16)
    return np.where(depth == 255, np.uint16(0), units)


def intrinsics(resolution: tuple[int, int]) -> dict[str, Any]:
    """The camera: Doom's field of view is 90 degrees, and its pixels are 1.2 times as tall as wide.

    A point at (x right, y down, z ahead) map units appears at (fx x/z + cx, fy y/z + cy) px.
    """
    width, height = resolution
    return {
        "width": width,
        "height": height,
        "fx": width / 2,
        "fy": 1.2 * width / 2,
        "cx": (width - 1) / 2,
        "cy": (height - 1) / 2,
        "depth": {
            "unit": "map unit",
            "step": DEPTH_UNIT,
            "farthest": round(254 * DEPTH_UNIT + DEPTH_OFFSET),
            "unknown": 0,
        },
    }


def save_jpeg(image: NDArray[np.uint8], path: Path) -> None:
    """Writes uint8 [H, W, 3] with quality 92."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=92)


@lru_cache(maxsize=64)
def spots(map_name: str) -> tuple[tuple[int, int], ...]:
    """Where the map's author placed something: points with room for an agent, in map units.

    Read from the map's THINGS lump: x, y, angle, type and flags, int16 each.
    """
    with wad_path().open("rb") as wad:
        count, directory = struct.unpack("<4xII", wad.read(12))
        wad.seek(directory)
        lumps = list(struct.iter_unpack("<II8s", wad.read(16 * count)))
        names = [name.rstrip(b"\0").decode("ascii", "replace") for _, _, name in lumps]
        offset, size, _ = lumps[names.index("THINGS", names.index(map_name))]
        wad.seek(offset)
        data = wad.read(size)
    return tuple(sorted({(x, y) for x, y, *_ in _THING.iter_unpack(data)}))
