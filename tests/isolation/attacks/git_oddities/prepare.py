"""The references are in the history, and the repository's files are odd."""

import os
import shutil
import subprocess

from tests.isolation.world import World


def prepare(world: World) -> None:
    folder = world.submission
    shutil.copytree(world.data, folder / "tmp-data")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=one"]):
        subprocess.run([*git, *arguments], check=True, env=environment, capture_output=True)
    shutil.rmtree(folder / "tmp-data")
    repository = folder / ".git"
    (repository / "HEAD").unlink()
    (repository / "HEAD").symlink_to(folder / "pipe")
    os.mkfifo(folder / "pipe")
    os.truncate(repository / "index", 1 << 40)
    (repository / "objects" / "info").mkdir(exist_ok=True)
    (repository / "objects" / "info" / "alternates").write_text(
        f"{world.home}\n/proc/self/fd/0\n../objects\n"
    )
