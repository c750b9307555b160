"""Which account somebody has whom an OpenID provider knows.

An identity, the provider's address and its number for somebody, belongs to one account. It gets there in three ways:
its owner, signed in, links it; an invitation is accepted with it; or its verified e-mail address is of a domain that
needs no invitation, and it never had an account. An account is never found by a name or an e-mail address: these
change hands.
"""

from itertools import count

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.service import accounts
from evaluator.service.accounts import LONGEST_NAME, Caller
from evaluator.service.errors import Refused
from evaluator.service.oidc import Person
from evaluator.service.settings import OpenIdProvider
from evaluator.service.tables import Account, Identity

SPARE_CHARACTERS = 5  # of a name, for a number


def known(session: Session, provider: OpenIdProvider, person: Person) -> int | None:
    """The account that an identity belongs to."""
    found = _record(session, provider, person)
    return found.account_id if found is not None and found.is_linked else None


def _record(session: Session, provider: OpenIdProvider, person: Person) -> Identity | None:
    """What is known of an identity, whether it is linked or not any more."""
    same = (Identity.issuer == provider.issuer, Identity.subject == person.subject)
    return session.scalar(select(Identity).where(*same))


def of_account(session: Session, account: int) -> list[Identity]:
    """The identities of an account, oldest first."""
    linked = select(Identity).where(Identity.account_id == account, Identity.is_linked)
    return list(session.scalars(linked.order_by(Identity.id)))


def link(session: Session, provider: OpenIdProvider, person: Person, account: int, now: float) -> None:
    """Have an identity belong to an account; Refused if it belongs to another one."""
    found = _record(session, provider, person)
    if found is None:
        session.add(Identity(issuer=provider.issuer, subject=person.subject, account_id=account, created=now))
    elif not found.is_linked:
        found.account_id, found.created, found.is_linked = account, now, True
    elif found.account_id != account:
        raise Refused(f"Another account here belongs to you at {provider.name}.", 409)


def unlink(session: Session, caller: Caller, number: int) -> None:
    """Have one of the caller's own identities be nobody's."""
    own = update(Identity).where(Identity.id == number, Identity.account_id == caller.account)
    session.execute(own.values(is_linked=False))


def account_of(
    session: Session,
    provider: OpenIdProvider,
    person: Person,
    password_hash: str,
    invitation: str,
    now: float,
) -> int:
    """The account of an identity; made now if an invitation, or the domain, has it so. Else Refused.

    password_hash: of a new account; nobody knows the password.
    """
    owner = known(session, provider, person)
    if owner is not None:
        return owner
    if invitation:
        found = accounts.open_invite(session, invitation, now)
        made = _new(session, person, found.role, password_hash, now)
        accounts.use_invite(session, found, made)
    elif _record(session, provider, person) is not None:
        raise Refused(
            "You had an account here, which was closed or unlinked: sign in with its password and link it again, or"
            " ask the organiser for an invitation.",
            403,
        )
    elif person.domain in provider.domains:
        made = _new(session, person, "submitter", password_hash, now)
    else:
        raise Refused(
            "You have no account here yet: follow an invitation, or sign in with your password and link it there.",
            403,
        )
    link(session, provider, person, made.id, now)
    return made.id


def _new(session: Session, person: Person, role: str, password_hash: str, now: float) -> Account:
    """An account of the person's name, with a number if that is taken."""
    wanted = printable.plain(person.name.strip(), LONGEST_NAME - SPARE_CHARACTERS)
    wanted = wanted if len(wanted) > 1 else "member"
    name = next(
        found
        for number in count(1)
        if not accounts.is_taken(session, found := wanted if number == 1 else f"{wanted} {number}")
    )
    return accounts.add(session, name, password_hash, role, now)
