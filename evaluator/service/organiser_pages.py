"""The organiser's page: invitations and accounts, what was held back, what failed, who asks for how many scores."""

from fastapi import APIRouter
from starlette.responses import Response

from evaluator.service import account_pages, accounts, entries, organising
from evaluator.service.access import Here, Organiser, RowNumber
from evaluator.service.accounts import Caller
from evaluator.service.posted import Fields, to
from evaluator.service.rendering import page

router = APIRouter(include_in_schema=False, default_response_class=Response)


@router.get("/organiser")
def organise(here: Here, caller: Organiser) -> Response:
    """What only an organiser sees."""
    return _organiser(here, caller, None)


def _organiser(here: Here, caller: Caller, link: str | None, reset: str | None = None) -> Response:
    with here.database.reading() as session:
        return page(
            "organiser.html.j2",
            caller,
            link=link,
            reset=reset,
            accounts=organising.accounts_of(session),
            held_back=organising.held_back(session),
            teams=organising.teams(session),
            failed=organising.failed(session),
        )


@router.post("/organiser/invitations")
def invite(here: Here, caller: Organiser, form: Fields) -> Response:
    """A link for one new account."""
    with here.database.writing() as session:
        token = accounts.invite(session, form.get("role", "submitter"), here.now())
    return _organiser(here, caller, f"{here.settings.url}/invitation/{token}")


@router.post("/organiser/resets")
def reset(here: Here, caller: Organiser, form: Fields) -> Response:
    """A link with which somebody who has lost their password chooses another one."""
    with here.database.writing() as session:
        token = accounts.issue_reset(session, form.get("name", ""), here.now())
    return _organiser(here, caller, None, f"{here.settings.url}/reset/{token}")


@router.post("/organiser/accounts/{number}/revoke")
def revoke(number: RowNumber, here: Here, caller: Organiser) -> Response:
    """Sign somebody out everywhere, and take all their tokens back."""
    with here.database.writing() as session:
        accounts.sign_out_everywhere(session, number)
        accounts.revoke_tokens(session, number)
    return to("/organiser")


@router.get("/organiser/accounts/{number}/close")
def ask_to_close(number: RowNumber, here: Here, caller: Organiser) -> Response:
    """What closing somebody's account does."""
    return account_pages.ask_to_close(here, caller, number)


@router.post("/organiser/accounts/{number}/close")
def close(number: RowNumber, here: Here, caller: Organiser, form: Fields) -> Response:
    """Close somebody's account."""
    account_pages.close(here, number, form)
    return to("/organiser" if number != caller.account else "/")


@router.post("/organiser/entries/{number}/{act}")
def decide(number: int, act: str, here: Here, caller: Organiser) -> Response:
    """Show the scores of an entry that were held back, or have one that failed be tried again."""
    with here.database.writing() as session:
        found = entries.find(session, number)
        organising.decide(session, found, act, here.now())
    return to("/organiser")
