"""The pages of accounts: signing in, invitations, another password, one's own page."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from evaluator.service import accounts, closing, entries, identities
from evaluator.service.access import Anybody, Here, InBrowser, RowNumber, cookie_name, set_cookie
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.posted import Fields, Form, own_path, to
from evaluator.service.rendering import page
from evaluator.service.running import Service
from evaluator.service.security import address_of

router = APIRouter(include_in_schema=False, default_response_class=Response)


@router.get("/sign-in")
def ask_to_sign_in(here: Here, caller: Anybody, next: str = "/") -> Response:
    """The form; next: a page of ours that comes afterwards."""
    return page(
        "sign_in.html.j2",
        caller,
        problem=None,
        name="",
        provider=here.settings.provider,
        back=own_path(next),
    )


@router.post("/sign-in")
def sign_in(request: Request, here: Here, form: Fields) -> Response:
    """Sign in by name and password; a wrong name and a wrong password get the same answer in the same time."""
    name, now, back = form.get("name", ""), here.now(), own_path(form.get("next", "/"))
    subjects = (f"name {name.strip().casefold()}", f"address {address_of(request.scope)}")
    with here.database.writing() as session:
        attempt = accounts.begin_attempt(session, subjects, now)
        account, password_hash = accounts.password_of(session, name)
    fits = accounts.fits(password_hash, form.get("password", ""))
    with here.database.writing() as session:
        if account is None or not fits or not accounts.is_still(session, account, password_hash):
            return page(
                "sign_in.html.j2",
                None,
                403,
                problem="Name and password do not fit.",
                name=name,
                provider=here.settings.provider,
                back=back,
            )
        accounts.forgive(session, attempt)
        token = accounts.sign_in(session, account, now)
    answer = to(back)
    set_cookie(here.settings, answer, token)
    return answer


@router.post("/sign-out")
def sign_out(request: Request, here: Here) -> Response:
    """Forget this browser."""
    name = cookie_name(here.settings)
    with here.database.writing() as session:
        accounts.sign_out(session, request.cookies.get(name, ""))
    answer = to("/")
    answer.delete_cookie(name, path="/", secure=here.settings.is_secure, httponly=True, samesite="lax")
    return answer


@router.get("/invitation/{token}")
def invitation(token: str, here: Here) -> Response:
    """The form of an invitation."""
    return _invitation(here, token, 200, None, "")


def _invitation(here: Here, token: str, status: int, problem: str | None, name: str) -> Response:
    with here.database.reading() as session:
        role = accounts.open_invite(session, token, here.now()).role
    provider = here.settings.provider
    return page(
        "invitation.html.j2",
        None,
        status,
        role=role,
        problem=problem,
        name=name,
        provider=provider,
        token=token,
    )


@router.post("/invitation/{token}")
def accept(token: str, here: Here, form: Fields) -> Response:
    """Make the account of an invitation, and sign in."""
    name, now = form.get("name", ""), here.now()
    try:
        with here.database.writing() as session:
            made = accounts.accept(session, token, name, form.get("password", ""), now)
            cookie = accounts.sign_in(session, made.id, now)
    except Refused as error:
        return _invitation(here, token, error.status, error.sentence, name)
    answer = to("/")
    set_cookie(here.settings, answer, cookie)
    return answer


@router.get("/reset/{token}")
def ask_for_another(token: str, here: Here) -> Response:
    """The form of a link with which somebody chooses another password."""
    with here.database.reading() as session:
        name = accounts.open_reset(session, token, here.now()).name
    return page("reset.html.j2", None, name=name, problem=None, provider=here.settings.provider)


@router.post("/reset/{token}")
def reset(token: str, here: Here, form: Fields) -> Response:
    """Choose another password, and sign in with it."""
    now = here.now()
    try:
        with here.database.writing() as session:
            accounts.reset(session, token, form.get("password", ""), now)
    except Refused as error:
        with here.database.reading() as session:
            name = accounts.open_reset(session, token, now).name
        problem, provider = error.sentence, here.settings.provider
        return page("reset.html.j2", None, error.status, name=name, problem=problem, provider=provider)
    return to("/sign-in")


@router.get("/account")
def account(here: Here, caller: InBrowser) -> Response:
    """One's own entries and tokens."""
    return _account(here, caller, None)


def _account(here: Here, caller: Caller, made: str | None) -> Response:
    with here.database.reading() as session:
        own = entries.own(session, caller)
        return page(
            "account.html.j2",
            caller,
            entries=own,
            words=entries.STATE_WORDS,
            tokens=accounts.tokens_of(session, caller),
            made=made,
            url=here.settings.url,
            provider=here.settings.provider,
            identities=identities.of_account(session, caller.account),
        )


@router.post("/account/tokens")
def make_token(here: Here, caller: InBrowser, form: Fields) -> Response:
    """A new token, shown this once."""
    with here.database.writing() as session:
        made = accounts.issue_token(
            session, caller, form.get("label", ""), form.get("scope", "read"), here.now()
        )
    return _account(here, caller, made)


@router.post("/account/tokens/{number}/revoke")
def revoke_token(number: RowNumber, here: Here, caller: InBrowser) -> Response:
    """Take a token back."""
    with here.database.writing() as session:
        accounts.revoke_token(session, caller, number)
    return to("/account")


@router.post("/account/password")
def change_password(here: Here, caller: InBrowser, form: Fields) -> Response:
    """Change one's password, by the one that it was."""
    now, subjects = here.now(), (f"name {caller.name.casefold()}",)
    with here.database.writing() as session:
        attempt = accounts.begin_attempt(session, subjects, now)
        _, password_hash = accounts.password_of(session, caller.name)
    fits = accounts.fits(password_hash, form.get("present", ""))
    with here.database.writing() as session:
        if not fits or not accounts.is_still(session, caller.account, password_hash):
            raise Refused("That is not your present password.", 403)
        accounts.forgive(session, attempt)
        accounts.change_password(session, caller.account, form.get("new", ""))
    return to("/sign-in")


@router.post("/account/sign-out")
def sign_out_everywhere(here: Here, caller: InBrowser) -> Response:
    """Forget every browser in which the caller has signed in, this one, too."""
    with here.database.writing() as session:
        accounts.sign_out_everywhere(session, caller.account)
    return to("/sign-in")


@router.get("/account/close")
def ask_to_close_own(here: Here, caller: InBrowser) -> Response:
    """What closing one's account does."""
    return ask_to_close(here, caller, caller.account)


@router.post("/account/close")
def close_own(here: Here, caller: InBrowser, form: Fields) -> Response:
    """Close one's account."""
    close(here, caller.account, form)
    return to("/")


def ask_to_close(here: Service, caller: Caller, number: int) -> Response:
    """The page on which an account is closed, one's own or, by an organiser, another one."""
    with here.database.reading() as session:
        found = closing.preview(session, number)
    return page("close.html.j2", caller, closing=found)


def close(here: Service, number: int, form: Form) -> None:
    """Close an account as that page's form says."""
    with here.database.writing() as session:
        gone = closing.close(
            session, number, form.get("name", ""), form.get("seen") == "withdraw", here.now()
        )
    for entry in gone:
        entries.remove_files(here.settings, entry)
