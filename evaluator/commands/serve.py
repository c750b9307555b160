"""`python -m evaluator serve`."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from evaluator.commands import Subparsers, converters, service_options

if TYPE_CHECKING:
    from evaluator.service.serving import Started

ISSUER_VARIABLE, CLIENT_VARIABLE, DOMAINS_VARIABLE = "SDX_OIDC_ISSUER", "SDX_OIDC_CLIENT", "SDX_OIDC_DOMAINS"
SECRET_VARIABLE = "SDX_OIDC_SECRET"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        description="Run the quality checker: people upload estimates of a benchmark's tracks, which are scored in a "
        "sandbox and ranked. Without options it answers on this machine only, keeps everything in one folder, and "
        "offers the demo's tracks. Ctrl-C ends it; nothing is lost.",
    )
    service_options.add_place(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at (default: %(default)s, this machine only)",
    )
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--public-url",
        type=service_options.address,
        metavar="URL",
        help="as people reach it, such as https://checker.example.org through a proxy with TLS",
    )
    parser.add_argument(
        "--workers",
        type=converters.whole_from(0),
        default=1,
        metavar="N",
        help="processes that score (default: %(default)s); 0 only takes uploads",
    )
    _add_provider(parser)
    parser.set_defaults(run=_run)


def _add_provider(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "signing in with an OpenID provider",
        f"Off by default; needs the extra oidc. The provider leads back to PUBLIC_URL/sign-in/oidc/callback, and its "
        f"secret for this service is read from {SECRET_VARIABLE}. The variables below do where options are hard to "
        f"give, as in compose.yaml; empty ones are none.",
    )
    given = os.environ
    group.add_argument(
        "--oidc-issuer",
        default=given.get(ISSUER_VARIABLE) or None,
        metavar="URL",
        help=f"the provider's address, as its tokens have it (or {ISSUER_VARIABLE})",
    )
    group.add_argument(
        "--oidc-client",
        default=given.get(CLIENT_VARIABLE) or None,
        metavar="ID",
        help=f"what it calls this service (or {CLIENT_VARIABLE})",
    )
    group.add_argument(
        "--oidc-domain",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="people with a verified e-mail address of it need no invitation; may be repeated"
        f" (or {DOMAINS_VARIABLE}, several separated by commas)",
    )


def _port(text: str) -> int:
    port = converters.whole_from(0)(text)
    if port > 65535:
        raise ArgumentTypeError(f"{text}: expected a port from 1 to 65535, or 0 for any that is free")
    return port


def _run(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    named = [domain.strip() for domain in os.environ.get(DOMAINS_VARIABLE, "").split(",")]
    provider = service_options.provider_of(
        given.oidc_issuer,
        given.oidc_client,
        os.environ.get(SECRET_VARIABLE, ""),
        given.oidc_domain or [domain for domain in named if domain],
    )
    from evaluator.service import serving  # only now is it known that its packages are there

    serving.run(
        replace(
            settings,
            host=given.host,
            port=given.port,
            public_url=given.public_url,
            workers=given.workers,
            provider=provider,
        ),
        _tell,
    )
    return 0


def _tell(started: "Started") -> None:
    print(f"The quality checker answers at {started.url}\nIts folder: {started.root}", flush=True)
    if started.invitation is not None:
        print(
            f"Make the organiser's account with this link, which works once:\n{started.invitation}",
            flush=True,
        )
