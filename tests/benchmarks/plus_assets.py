"""A folder of assets for LIBERO-plus without LIBERO-plus's own: LIBERO's models, and stand-ins for what is missing."""

from __future__ import annotations

import re
from pathlib import Path

from proctor.benchmarks.libero.package import LiberoFiles
from proctor.errors import ConfigError

_BASES = {"tabletop": "tabletop", "kitchen": "kitchen_tabletop", "liv": "living_room_tabletop", "study": "study"}
"""The scene of LIBERO of which LIBERO-plus has variants, by the beginning of the variants' names."""

_BOX = """
<mujoco model="box">
  <worldbody>
    <body>
      <body name="object">
        <geom type="box" size="0.02 0.02 0.03" density="100" group="0" rgba="0.8 0.3 0.3 1"/>
        <geom type="box" size="0.02 0.02 0.03" contype="0" conaffinity="0" group="1" rgba="0.8 0.3 0.3 1"/>
      </body>
      <site rgba="0 0 0 0" size="0.005" pos="0 0 -0.03" name="bottom_site"/>
      <site rgba="0 0 0 0" size="0.005" pos="0 0 0.03" name="top_site"/>
      <site rgba="0 0 0 0" size="0.005" pos="0.02 0.02 0" name="horizontal_radius_site"/>
    </body>
  </worldbody>
</mujoco>
"""


def make_assets(folder: Path) -> Path:
    """Make a folder ``assets`` of links to LIBERO's models, in which other files can be put."""
    liberos = LiberoFiles().assets
    assets = folder / "assets"
    (assets / "scenes").mkdir(parents=True)
    for entry in liberos.iterdir():
        if entry.name != "scenes":
            (assets / entry.name).symlink_to(entry)
    for entry in (liberos / "scenes").iterdir():
        (assets / "scenes" / entry.name).symlink_to(entry)
    return assets


def build_with_stand_ins(benchmark, assets: Path):
    """Build the first task, and put a stand-in into ``assets`` for each file that it misses."""
    task, *_ = benchmark.tasks()
    for _ in range(20):
        try:
            return benchmark.make_env(task)
        except ConfigError as error:
            missing = re.search(r"incomplete: (\S+) is missing", str(error))
            _stand_in(Path(missing[1]), assets)
    raise AssertionError("more files are missing than any task needs")


def _stand_in(missing: Path, assets: Path) -> None:
    """A scene is LIBERO's own with darker lights; an object is a box."""
    place = missing.relative_to(assets)
    missing.parent.mkdir(parents=True, exist_ok=True)
    if place.parts[0] == "new_objects":
        missing.write_text(_BOX)
        return
    base = _BASES.get(missing.name.split("_")[0], "floor")
    text = (assets / "scenes" / f"libero_{base}_base_style.xml").read_text()
    up = "../" * (len(place.parts) - 2)  # scenes may lie in folders of their own
    text = re.sub(r'file="', f'file="{up}', text).replace('diffuse=".8 .8 .8"', 'diffuse=".4 .3 .3"')
    missing.write_text(text)
