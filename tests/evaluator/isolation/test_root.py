"""Which mounts are made read-only, whatever their paths look like; the root itself is tried in test_supervisor.py."""

from pathlib import Path

import pytest

from evaluator.isolation import root

pytestmark = pytest.mark.quick

# As the kernel writes it: id, parent, device, root, place, options, and more.
LINE = "{number} 1 8:1 / {place} rw,relatime shared:1 - ext4 /dev/sda rw\n"


def mounts(monkeypatch: pytest.MonkeyPatch, *places: bytes) -> None:
    """Have something mounted at these places, written as the kernel does."""
    lines = [LINE.format(number=number, place="HERE").encode() for number in range(len(places))]
    content = b"".join(line.replace(b"HERE", place) for line, place in zip(lines, places, strict=True))
    monkeypatch.setattr(Path, "read_bytes", lambda path: content)


def test_mounts_at_and_below_a_path_are_found_by_whole_names(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts(monkeypatch, b"/", b"/a", b"/a/b", b"/a/b/c/d", b"/ab", b"/b", b"/b/a")
    assert root._mounts_below({"/a"}) == ["/a", "/a/b", "/a/b/c/d"]
    assert root._mounts_below({"/a/b", "/ab"}) == ["/a/b", "/a/b/c/d", "/ab"]
    assert root._mounts_below(set()) == []


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (rb"/x/a\040b", "/x/a b"),
        (rb"/x/a\011b", "/x/a\tb"),
        (rb"/x/a\012b", "/x/a\nb"),
        (rb"/x/a\134b", "/x/a\\b"),
        (rb"/x/a\134040b", "/x/a\\040b"),
        (b"/x/a\x0bb", "/x/a\x0bb"),
        (b"/x/a\x0c\x1c\x85b", "/x/a\x0c\x1c\udc85b"),
        ("/x/a\u2028b".encode(), "/x/a\u2028b"),
        (b"/x/\xff", "/x/\udcff"),
    ],
)
def test_a_path_of_any_characters_is_read_as_it_is(
    monkeypatch: pytest.MonkeyPatch, written: bytes, path: str
) -> None:
    """One that was missed would stay writable."""
    mounts(monkeypatch, b"/", written, b"/y")
    assert root._mounts_below({"/x"}) == [path]
    assert root._mounts_below({path}) == [path]
