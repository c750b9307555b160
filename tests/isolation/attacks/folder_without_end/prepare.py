"""Two hundred levels: as many as a path still has room for."""

from tests.isolation.world import World


def prepare(world: World) -> None:
    world.submission.joinpath("my_submission", *["d" * 10] * 200).mkdir(parents=True)
