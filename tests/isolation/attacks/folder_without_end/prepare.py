"""Five thousand levels, made from descriptor to descriptor."""

import os

from tests.isolation.world import World


def prepare(world: World) -> None:
    here = os.open(world.submission / "my_submission", os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
