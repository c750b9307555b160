"""Who is who: invitations, passwords, browsers that are signed in, tokens of programs.

What is shown once (the token of a link, of a cookie, of a program) is 256 bits of chance, of which only the SHA-256
is kept. A wrong name and a wrong password take the same time and get the same answer.
"""

import hashlib
import secrets
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.service.errors import Refused
from evaluator.service.settings import DAY_SECONDS
from evaluator.service.tables import (
    ROLES,
    SCOPES,
    Account,
    ApiToken,
    Attempt,
    Identity,
    Invite,
    Reset,
    SignedIn,
)

INVITE_SECONDS = 7 * DAY_SECONDS
RESET_SECONDS = DAY_SECONDS
SIGNED_IN_SECONDS = 30 * DAY_SECONDS
TOKEN_SECONDS = 365 * DAY_SECONDS
MOST_ATTEMPTS, ATTEMPT_SECONDS = 10, 900.0  # of one name, and of one address
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_NAME = 40
CLOSED_NAME = "closed account"  # with a number; no other name begins so
MOST_TOKENS = 20  # of one account
TOKEN_MARK = "sdx_"  # by which a token is recognised where it should not be
PREFIX_CHARACTERS = len(TOKEN_MARK) + 6
BROWSER = "browser"  # the scope of whoever has signed in; no token has it

_HASHER = PasswordHasher()
NOBODYS_HASH = _HASHER.hash(secrets.token_hex())
"""For the time it takes to compare a password with it."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request; `scope` is what their token allows, or BROWSER where they have signed in."""

    account: int
    name: str
    role: str
    scope: str = BROWSER

    @property
    def is_in_browser(self) -> bool:
        """Whether they have signed in, and may do what no token may."""
        return self.scope == BROWSER

    @property
    def is_organiser(self) -> bool:
        """Whether they run the service; their tokens do not."""
        return self.role == "organiser" and self.is_in_browser

    @property
    def may_submit(self) -> bool:
        """Whether they may upload."""
        return self.role in ("submitter", "organiser") and self.scope in (BROWSER, "submit")

    @property
    def may_submit_for_teams(self) -> bool:
        """Whether what they upload may be a team's."""
        return self.role == "organiser" and self.may_submit


def sha256(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def invite(session: Session, role: str, now: float) -> str:
    """A new invitation; returns the token of its link."""
    if role not in ROLES:
        raise Refused(f"role: found {printable.plain(role)}, expected one of {', '.join(ROLES)}")
    token = secrets.token_urlsafe(32)
    session.add(Invite(token_sha256=sha256(token), role=role, created=now, expires=now + INVITE_SECONDS))
    return token


def open_invite(session: Session, token: str, now: float) -> Invite:
    """The invitation of a link; Refused if it is used, over or none."""
    found = session.scalar(select(Invite).where(Invite.token_sha256 == sha256(token)))
    if found is None or found.account_id is not None or found.expires < now:
        raise Refused("This invitation was used already, is over, or never was; ask for a new one.", 404)
    return found


def accept(session: Session, token: str, name: str, password: str, now: float) -> Account:
    """The account that an invitation makes; Refused for a name or a password that cannot be."""
    invitation = open_invite(session, token, now)
    _check_password(password)
    account = add(session, name, hash_password(password), invitation.role, now)
    use_invite(session, invitation, account)
    return account


def add(session: Session, name: str, password_hash: str, role: str, now: float) -> Account:
    """A new account; Refused for a name that cannot be, or is taken."""
    name = _checked_name(name)
    if is_taken(session, name):
        raise Refused(f"The name {name} is taken; choose another.", 409)
    account = Account(
        name=name, folded_name=name.casefold(), password_hash=password_hash, role=role, created=now
    )
    session.add(account)
    session.flush()
    return account


def lock(session: Session, account: int) -> None:
    """Have an account do one thing at a time that counts against a quota; Refused if it was closed meanwhile."""
    found = session.get(Account, account, with_for_update=True, populate_existing=True)
    if found is None or found.closed is not None:
        raise Refused("This account is closed.", 403)


def is_taken(session: Session, name: str) -> bool:
    """Whether an account has this name, in whatever case."""
    return session.scalar(select(Account.id).where(Account.folded_name == name.casefold())) is not None


def use_invite(session: Session, invitation: Invite, account: Account) -> None:
    """Note whose account an invitation has made; Refused if it made another one meanwhile."""
    # Two who follow one link at the same moment: only one of them finds it unused.
    taken = (
        update(Invite)
        .where(Invite.id == invitation.id, Invite.account_id.is_(None))
        .values(account_id=account.id)
        .returning(Invite.id)
    )
    if session.scalar(taken) is None:
        raise Refused("This invitation was used already; ask for a new one.", 404)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 2 <= len(name) <= LONGEST_NAME or printable.fault(name) is not None:
        raise Refused(f"Name: expected 2 to {LONGEST_NAME} characters, all visible.")
    if name.casefold().startswith(CLOSED_NAME):
        raise Refused(f"Name: {name} is what accounts are called that were closed; choose another.")
    return name


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise Refused(
            f"Password: found {len(password)} characters, expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}."
        )


def change_password(session: Session, account: int, password: str) -> None:
    """Another password for an account, which is then signed out everywhere; Refused for one that cannot be.

    A link with which it would be changed once more is over, too.
    """
    _check_password(password)
    session.get_one(Account, account).password_hash = hash_password(password)
    session.execute(delete(Reset).where(Reset.account_id == account))
    sign_out_everywhere(session, account)


def issue_reset(session: Session, name: str, now: float) -> str:
    """The token of a link with which somebody chooses another password; it replaces an earlier one."""
    account, _ = password_of(session, name)
    if account is None or session.get_one(Account, account).closed is not None:
        raise Refused(f"There is no account {printable.plain(name, LONGEST_NAME)}.", 404)
    session.execute(delete(Reset).where(or_(Reset.account_id == account, Reset.expires < now)))
    token = secrets.token_urlsafe(32)
    session.add(Reset(token_sha256=sha256(token), account_id=account, expires=now + RESET_SECONDS))
    return token


def open_reset(session: Session, token: str, now: float) -> Account:
    """Whose password a link changes; Refused if it is used, over or none."""
    whose = select(Account).join(Reset, Reset.account_id == Account.id)
    found = session.scalar(whose.where(Reset.token_sha256 == sha256(token), Reset.expires >= now))
    if found is None:
        raise Refused("This link was used already, is over, or never was; ask for a new one.", 404)
    return found


def reset(session: Session, token: str, password: str, now: float) -> None:
    """Choose another password by a link; whatever had access to the account has none any more."""
    account = open_reset(session, token, now).id
    used = delete(Reset).where(Reset.token_sha256 == sha256(token)).returning(Reset.account_id)
    if session.scalar(used) is None:  # by who followed it at the same moment
        raise Refused("This link was used already; ask for a new one.", 404)
    change_password(session, account, password)
    revoke_tokens(session, account)
    unlink_all(session, account)


def unlink_all(session: Session, account: int) -> None:
    """Have nobody sign in as an account with an OpenID provider any more."""
    session.execute(update(Identity).where(Identity.account_id == account).values(is_linked=False))


def begin_attempt(
    session: Session, subjects: tuple[str, ...], now: float, most: int = MOST_ATTEMPTS
) -> list[Attempt]:
    """Count an attempt as failed until it is `forgive`n, so that many at once are no more than one after the other.

    Refused if one of these has failed too often of late; forgets what is long ago.
    """
    if session.connection().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE attempts IN EXCLUSIVE MODE"))  # readers go on
    session.execute(delete(Attempt).where(Attempt.at < now - ATTEMPT_SECONDS))
    for subject in subjects:
        number = session.scalar(
            select(func.count()).select_from(Attempt).where(Attempt.subject == subject[:160])
        )
        if (number or 0) >= most:
            raise Refused("Too many attempts; wait a quarter of an hour.", 429)
    made = [Attempt(subject=subject[:160], at=now) for subject in subjects]
    session.add_all(made)
    return made


def last_attempt(session: Session, subject: str) -> list[Attempt]:
    """The attempt of one subject that was begun last and still counts, if any does."""
    last = select(Attempt).where(Attempt.subject == subject[:160]).order_by(Attempt.id.desc()).limit(1)
    return list(session.scalars(last))


def forgive(session: Session, attempt: list[Attempt]) -> None:
    """Count an attempt no more, since it was right."""
    session.execute(delete(Attempt).where(Attempt.id.in_([each.id for each in attempt])))


def password_of(session: Session, name: str) -> tuple[int | None, str]:
    """The account of a name, and the hash to compare a password with; of no account it is nobody's."""
    found = session.scalar(select(Account).where(Account.folded_name == name.strip().casefold()[:128]))
    return (None, NOBODYS_HASH) if found is None else (found.id, found.password_hash)


def is_still(session: Session, account: int, password_hash: str) -> bool:
    """Whether an account has this hash yet, after the time that it took to compare it; it stays so meanwhile."""
    found = session.get_one(Account, account, with_for_update=True)
    return found.closed is None and found.password_hash == password_hash


def hash_password(password: str) -> str:
    """What is kept of a password; takes a tenth of a second."""
    return _HASHER.hash(password[:LONGEST_PASSWORD])


def fits(password_hash: str, password: str) -> bool:
    """Whether this is the password; takes a tenth of a second, so call it outside of any transaction."""
    try:
        return _HASHER.verify(password_hash, password[:LONGEST_PASSWORD])
    except VerificationError:
        return False


def sign_in(session: Session, account: int, now: float) -> str:
    """Have a browser be signed in; returns the token for its cookie."""
    session.execute(delete(SignedIn).where(SignedIn.expires < now))
    token = secrets.token_urlsafe(32)
    session.add(
        SignedIn(token_sha256=sha256(token), account_id=account, created=now, expires=now + SIGNED_IN_SECONDS)
    )
    return token


def sign_out(session: Session, token: str) -> None:
    """Forget a browser."""
    session.execute(delete(SignedIn).where(SignedIn.token_sha256 == sha256(token)))


def sign_out_everywhere(session: Session, account: int) -> None:
    """Forget all browsers of an account."""
    session.execute(delete(SignedIn).where(SignedIn.account_id == account))


def of_cookie(session: Session, token: str, now: float) -> Caller | None:
    """Who has signed in in that browser."""
    found = session.scalar(
        select(Account)
        .join(SignedIn, SignedIn.account_id == Account.id)
        .where(SignedIn.token_sha256 == sha256(token), SignedIn.expires >= now, Account.closed.is_(None))
    )
    return None if found is None else Caller(found.id, found.name, found.role)


def issue_token(session: Session, caller: Caller, label: str, scope: str, now: float) -> str:
    """A new token for programs of the caller, shown this once."""
    if scope not in SCOPES or (scope == "submit" and not caller.may_submit):
        raise Refused(f"scope: found {printable.plain(scope)}, expected one that you have yourself")
    number = session.scalar(
        select(func.count()).select_from(ApiToken).where(ApiToken.account_id == caller.account)
    )
    if (number or 0) >= MOST_TOKENS:
        raise Refused(f"You have {MOST_TOKENS} tokens; revoke one first.", 409)
    made = f"{TOKEN_MARK}{secrets.token_urlsafe(32)}"
    session.add(
        ApiToken(
            account_id=caller.account,
            label=printable.plain(label.strip() or "token", 60),
            prefix=made[:PREFIX_CHARACTERS],
            token_sha256=sha256(made),
            scope=scope,
            created=now,
            expires=now + TOKEN_SECONDS,
        )
    )
    return made


def revoke_token(session: Session, caller: Caller, number: int) -> None:
    """Take one of the caller's own tokens back."""
    session.execute(delete(ApiToken).where(ApiToken.id == number, ApiToken.account_id == caller.account))


def revoke_tokens(session: Session, account: int) -> None:
    """Take all tokens of an account back."""
    session.execute(delete(ApiToken).where(ApiToken.account_id == account))


def tokens_of(session: Session, caller: Caller) -> list[ApiToken]:
    """The caller's tokens, newest first."""
    owned = select(ApiToken).where(ApiToken.account_id == caller.account).order_by(ApiToken.id.desc())
    return list(session.scalars(owned))


def of_token(session: Session, shown: str, now: float) -> tuple[Caller, ApiToken] | None:
    """Who a program acts for, and its token; None for one that is unknown or over."""
    found = session.execute(
        select(Account, ApiToken)
        .join(ApiToken, ApiToken.account_id == Account.id)
        .where(ApiToken.token_sha256 == sha256(shown), ApiToken.expires >= now, Account.closed.is_(None))
    ).first()
    if found is None:
        return None
    account, token = found
    return Caller(account.id, account.name, account.role, token.scope), token


def note_use(session: Session, token: int, now: float) -> None:
    """Note when a token was used last."""
    session.execute(update(ApiToken).where(ApiToken.id == token).values(used=now))
