"""Addresses of engines: what is read, and the one sentence for what is not."""

from pathlib import Path

import pytest

from sdx.engines import address
from sdx.engines.address import Address, AddressError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", Address("local")),
        ("local?workers=4", Address("local", options={"workers": 4})),
        ("local://", Address("local")),
        ("dask://host:8786", Address("dask", "host", 8786)),
        ("dask://[::1]:8786?patience=30", Address("dask", "::1", 8786, options={"patience": 30})),
        ("dask://local?workers=2&gpus=1", Address("dask", options={"workers": 2, "gpus": 1})),
        ("slurm://GPU?jobs=8&hours=2", Address("slurm", "GPU", options={"jobs": 8, "hours": 2})),
        ("slurm://", Address("slurm", "")),
    ],
)
def test_an_address_says_which_engine(text: str, expected: Address) -> None:
    assert address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ray://host:1",
            "dask",
            "dask://host",
            "dask://local:1",
            "dask://host:port",
            "dask://host:99999999",
        ),
        *("dask://host:1/path", "dask://me@host:1", "dask://host:1?workers=2", "dask://local?workers=0"),
        *("local?workers=two", "local?jobs=2", "local?workers=1&workers=2", "local://host", "local?workers="),
        *(
            "slurm://part:1",
            "slurm+tls://part",
            "dask+ssl://host:1",
            "local?workers=99999999999",
            "dask://[::1:2",
        ),
    ],
)
def test_anything_else_is_one_sentence(text: str) -> None:
    with pytest.raises(AddressError, match=r"--engine .*expected|--engine .*drop") as caught:
        address.parse(text)
    assert "\n" not in str(caught.value)


def test_tls_takes_three_files_that_are_there(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for file in files:
        file.touch()
    found = address.parse("dask+tls://host:1", *files)
    assert found.url == "tls://host:1"
    assert found.warning is None
    for missing in range(3):
        given = [None if index == missing else file for index, file in enumerate(files)]
        with pytest.raises(AddressError, match="missing"):
            address.parse("dask+tls://host:1", *given)
        with pytest.raises(AddressError, match="go with dask"):
            address.parse("dask://host:1", *given)
    files[1].unlink()
    with pytest.raises(AddressError, match="no such file"):
        address.parse("dask+tls://host:1", *files)


@pytest.mark.parametrize(
    "text", ["dask://local", "dask://127.0.0.1:1", "dask://[::1]:1", "local", "slurm://x"]
)
def test_what_stays_here_needs_no_warning(text: str) -> None:
    assert address.parse(text).warning is None


@pytest.mark.parametrize("text", ["dask://host:1", "dask://10.0.0.1:1", "dask://0.0.0.0:1"])
def test_what_leaves_this_machine_in_the_open_is_warned_of(text: str) -> None:
    assert "encrypted" in (address.parse(text).warning or "")
