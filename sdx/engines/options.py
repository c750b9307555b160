"""Options that say where work runs."""

import argparse
from pathlib import Path

from sdx.engines import address
from sdx.engines.address import Address, AddressError


def add_engine(parser: argparse._ActionsContainer, what: str) -> None:
    """`--engine` and what goes with it; `what` is what its workers do."""
    add = parser.add_argument
    add(
        "--engine",
        metavar="ADDRESS",
        help=f"have workers of an engine {what}: {address.FORMS} (docs/clusters.md)",
    )
    for name, text in (
        ("ca", "the authority's certificate"),
        ("cert", "our certificate"),
        ("key", "our certificate's key"),
    ):
        add(f"--tls-{name}", type=Path, metavar="FILE", help=f"for dask+tls://: {text}, a PEM file")


def given_engine(given: argparse.Namespace) -> Address | None:
    """The engine that was asked for, if one was; AddressError where the address cannot be used."""
    if given.engine is None:
        if any((given.tls_ca, given.tls_cert, given.tls_key)):
            raise AddressError("--tls-ca, --tls-cert and --tls-key go with --engine dask+tls://HOST:PORT")
        return None
    return address.parse(given.engine, given.tls_ca, given.tls_cert, given.tls_key)


def engine_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Address | None:
    """`given_engine`; ends the program where the address cannot be used."""
    try:
        return given_engine(given)
    except AddressError as error:
        parser.error(str(error))
