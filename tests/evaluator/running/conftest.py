"""What tests of several files here have in common."""

import os

import pytest


@pytest.fixture
def nobodys_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but that of a test's own repositories."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    who = '[user]\nname = A\nemail = a@b\n[protocol "file"]\nallow = always\n[safe]\ndirectory = *\n'
    (home / ".gitconfig").write_text(who + "[init]\ndefaultBranch = main\n")
