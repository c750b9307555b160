"""Every attack on every system: none gets, changes or leaves anything, and none ends the evaluation."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.isolation import harness, systems
from tests.isolation.conftest import MakeWorld
from tests.isolation.harness import Attack

pytestmark = pytest.mark.isolation

REQUIRE_VARIABLE = "SDX_REQUIRE_ENGINE"


def _cases() -> Iterator["pytest.param"]:  # type: ignore[valid-type]
    for attack in harness.all_attacks():
        for system in attack.systems:
            marks = [pytest.mark.container] if system == "docker" else []
            yield pytest.param(attack, system, id=f"{attack.name}-{system}", marks=marks)


@pytest.fixture(scope="session")
def user_namespaces() -> bool:
    return systems.has_user_namespaces()


@pytest.mark.parametrize(("attack", "system"), list(_cases()))
def test_attack(
    attack: Attack,
    system: str,
    make_world: MakeWorld,
    record: Callable[[Attack, str, str], None],
    user_namespaces: bool,
) -> None:
    if (reason := systems.missing(system, user_namespaces)) is not None:
        if os.environ.get(REQUIRE_VARIABLE) == "1" and system == "docker":
            pytest.fail(f"NO CONTAINER ENGINE: {reason}", pytrace=False)
        pytest.skip(reason)
    attack = attack.on(system)
    victim = make_world(attack)
    harness.lay_out(attack, victim, system)
    if system == "user":
        systems.hand_over(victim.root, *victim.public_files)
    problems: list[str] = []
    for _ in range(1 + attack.twice):
        ran, found = harness.trial(attack, victim, system)
        problems += found
    held = "held" if harness.is_held(attack, ran) else "said"
    record(attack, system, "broken" if problems else held)
    assert not problems, "\n".join([*problems, ran.printed.decode(errors="replace")[-3000:]])
