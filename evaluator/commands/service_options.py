"""What the commands of the quality checker have in common: its folder, its database, the packages that it needs."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from evaluator.locations import IS_INSTALLED
from evaluator.service.errors import SetupError
from evaluator.service.settings import OpenIdProvider, Settings, default_root

NEEDED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "sqlalchemy": "SQLAlchemy",
    "alembic": "alembic",
    "argon2": "argon2-cffi",
    "python_multipart": "python-multipart",
}


def add_place(parser: ArgumentParser) -> None:
    """The options that say which service is meant."""
    parser.add_argument(
        "--root",
        type=Path,
        default=default_root(),
        metavar="DIR",
        help="the service's folder (default: %(default)s)",
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        help="postgresql://USER@HOST/NAME (default: an SQLite file in that folder)",
    )


def address(text: str) -> str:
    """Where people reach the service, without a slash at the end."""
    if not text.startswith(("http://", "https://")):
        raise ArgumentTypeError(f"{text}: expected an address that begins with https:// or http://")
    return text.rstrip("/")


def settings_of(given: Namespace) -> Settings:
    """The service that the options name; SetupError where its packages are not installed."""
    require_packages()
    return Settings(root=given.root, database=given.database)


def require_packages() -> None:
    """SetupError in one sentence where the extra `service` is not installed."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        how = "'sdx23-kit[service]'" if IS_INSTALLED else "-r evaluator/service/requirements.txt"
        raise SetupError(
            f"the quality checker needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not"
            f" installed; pip install {how}"
        )


def provider_of(
    issuer: str | None, client: str | None, secret: str, domains: Sequence[str]
) -> OpenIdProvider | None:
    """The OpenID provider that the options name, if any; SetupError for half of one, or without the extra `oidc`."""
    if issuer is None and client is None and not domains:
        return None
    if issuer is None or client is None:
        raise SetupError("--oidc-issuer and --oidc-client: expected both, or neither")
    if find_spec("joserfc") is None:
        how = "'sdx23-kit[oidc]'" if IS_INSTALLED else "-r evaluator/service/requirements-oidc.txt"
        raise SetupError(f"--oidc-issuer: needs joserfc, which is not installed; pip install {how}")
    from evaluator.service import oidc

    if not oidc.is_safe(issuer):
        raise SetupError(f"--oidc-issuer {issuer}: expected an address that begins with https://")
    return OpenIdProvider(issuer, client, secret, tuple(domain.casefold() for domain in domains))
