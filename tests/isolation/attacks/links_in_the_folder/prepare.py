"""Links to what only the evaluator's user should read, below names that an image and a sandbox take along."""

from pathlib import Path

from tests.isolation.world import World


def prepare(world: World) -> None:
    package = world.submission / "my_submission"
    described = world.described()
    for number, target in enumerate([*described["references"], *described["secrets"]]):
        (package / f"link_{number}").symlink_to(target)
        (world.submission / f"weights_{number}.th").symlink_to(target)
    (package / "data").symlink_to(world.data)
    (world.submission / "home").symlink_to(world.home)
    deep = Path("..") / Path(*[".."] * 20)
    (package / "relative").symlink_to(deep / world.data.relative_to("/"))
