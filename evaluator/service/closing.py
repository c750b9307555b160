"""An account is closed, by its owner or by an organiser, for good: another one takes another invitation.

Nobody gets into it any more, and its name, which is free again, becomes a tombstone's. What only its owner saw, and
what was not scored yet, goes with it, files and all. What others see stays on the boards under the tombstone's name,
so ranks stay what they were, or is withdrawn, too: whoever closes the account chooses. What an organiser has
submitted for teams is the teams'.

What the account has had of scores is not forgotten: somebody whom an OpenID provider knows comes back by an
invitation alone, since a new account may have as many scores again.
"""

from dataclasses import dataclass

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from evaluator.service import accounts, entries
from evaluator.service.accounts import CLOSED_NAME, NOBODYS_HASH
from evaluator.service.errors import Refused
from evaluator.service.tables import ANONYMOUS, DONE, PRIVATE, Account, Entry, Reset


@dataclass(frozen=True)
class Closing:
    """An account that may be closed. seen: how many of its entries others see."""

    number: int
    name: str
    seen: int


def preview(session: Session, number: int) -> Closing:
    """What would be closed; Refused if there is no such account, or if nobody would organise without it."""
    account = _closable(session, number)
    seen = _own(number).where(Entry.state == DONE, Entry.visibility != PRIVATE)
    return Closing(
        number, account.name, session.scalar(select(func.count()).select_from(seen.subquery())) or 0
    )


def close(session: Session, number: int, name: str, withdraws: bool, now: float) -> list[int]:
    """Close an account, whose name must be given; returns the entries whose files are to be removed.

    withdraws: what others see of its entries. Refused as in `preview`, and for another name.
    """
    account = _closable(session, number)
    if name.strip() != account.name:
        raise Refused(
            f"Nothing was closed: expected the name {account.name}, to be sure that this one is meant."
        )
    gone = [entry.id for entry in session.scalars(_own(number)) if _ended(session, entry, withdraws)]
    accounts.sign_out_everywhere(session, number)
    accounts.revoke_tokens(session, number)
    accounts.unlink_all(session, number)
    session.execute(delete(Reset).where(Reset.account_id == number))
    account.name = account.folded_name = f"{CLOSED_NAME} {number}"
    account.password_hash, account.closed = NOBODYS_HASH, now
    return gone


def _closable(session: Session, number: int) -> Account:
    # All organisers, in one order: two who leave at the same moment must not both be the last but one.
    organisers = select(Account).where(Account.role == "organiser", Account.closed.is_(None))
    left = {each.id for each in session.scalars(organisers.order_by(Account.id).with_for_update())}
    account = session.get(Account, number, with_for_update=True)
    if account is None or account.closed is not None:
        raise Refused("There is no such account.", 404)
    if left == {number}:
        raise Refused("Nobody would organise without this account; invite another organiser first.", 409)
    return account


def _own(number: int) -> Select[Entry]:
    return select(Entry).where(Entry.account_id == number, Entry.team.is_(None)).order_by(Entry.id)


def _ended(session: Session, entry: Entry, withdraws: bool) -> bool:
    """End an entry, unless it stays as others see it."""
    if entry.state == DONE and entry.visibility != PRIVATE and not withdraws:
        if entry.visibility == ANONYMOUS:
            entry.named_from = None  # or one would see which of them are one account's
        return False
    entries.end(session, entry)
    return True
