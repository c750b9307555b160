"""What holds for every request: policies in headers, other sites, other hosts, sizes, text of others in pages."""

import re

import pytest
from fastapi.testclient import TestClient

from evaluator.service.app import create_app
from evaluator.service.running import Service
from evaluator.service.settings import Settings
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import BASE, PASSWORD, World

PAGES = (
    "/",
    "/benchmarks/bench",
    "/queue",
    "/sign-in",
    "/nothing",
    "/api/v1/benchmarks",
    "/static/style.css",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_the_policies(world: World, path: str) -> None:
    headers = world.browser().get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.thorough
def test_no_page_has_script_or_style_of_its_own(world: World) -> None:
    scored(
        world, "ann", visibility="public", description="<img src=x onerror=alert(1)>", link="https://x.org/a"
    )
    world.token("olga", "organiser")
    paths = (
        *("/", "/benchmarks/bench", "/benchmarks/bench/new", "/entries/1", "/entries/1/edit", "/queue"),
        *("/account", "/organiser", "/sign-in", "/nowhere"),
    )
    olga = world.signed_in("olga")
    for path in paths:
        page = olga.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=\"|<script(?! src=)|javascript:", page), path
        assert "<img src=x" not in page
    assert 'rel="nofollow noopener noreferrer ugc"' in world.browser().get("/entries/1").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": BASE}, 303),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),  # with a cookie, but nothing that says where it comes from
    ],
)
def test_other_sites_change_nothing(world: World, headers: dict[str, str], status: int) -> None:
    world.token("ann")
    browser = world.browser()
    assert browser.post("/sign-in", data={"name": "ann", "password": PASSWORD}).status_code == 303
    del browser.headers["Sec-Fetch-Site"]
    assert browser.post("/sign-out", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "x@127.0.0.1", ""])
def test_other_names_do_not_lead_here(world: World, host: str) -> None:
    assert world.browser().get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "[::1]:8000"])
def test_names_of_this_machine_do(world: World, host: str) -> None:
    assert world.browser().get("/", headers={"Host": host}).status_code == 200


def test_large_bodies_are_refused_whatever_they_say_of_themselves(world: World) -> None:
    world.token("ann")
    big = b"x" * (65 << 10)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert world.browser().post("/sign-in", content=big, headers=form).status_code == 413
    parts = iter([big[:40_000], big[:40_000]])
    assert world.browser().post("/sign-in", content=parts, headers=form).status_code == 413


def test_a_lab_signs_in_without_tls(world: World) -> None:
    """Over plain HTTP browsers send no Sec-Fetch-Site."""
    settings = Settings(world.settings.root, host="0.0.0.0")
    app = create_app(Service(settings, world.database, world.now))
    world.token("ann")
    browser = TestClient(app, base_url="http://lab:8000", follow_redirects=False)
    for origin, status in (("http://evil:8000", 403), ("http://lab:8000", 303)):
        data = {"name": "ann", "password": PASSWORD}
        assert browser.post("/sign-in", data=data, headers={"Origin": origin}).status_code == status
    assert browser.get("/account").status_code == 200
    assert browser.post("/sign-out", headers={"Origin": "http://lab:8000"}).status_code == 303


def test_through_tls_cookies_are_secure_and_browsers_are_told_to_stay(world: World) -> None:
    settings = Settings(world.settings.root, public_url="https://checker.example.org")
    app = create_app(Service(settings, world.database, world.now))
    world.token("ann")
    base = "https://checker.example.org"
    browser = TestClient(
        app, base_url=base, headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False
    )
    done = browser.post("/sign-in", data={"name": "ann", "password": PASSWORD})
    cookie = done.headers["set-cookie"]
    assert cookie.startswith("__Host-sdx=")
    assert "Secure" in cookie
    assert "max-age" in done.headers["strict-transport-security"]
    assert browser.get("/account").status_code == 200


def test_errors_are_json_for_programs_and_pages_for_people(world: World) -> None:
    program = world.program(None)
    assert (
        "no benchmark nothing; there are: bench." in program.get("/api/v1/benchmarks/nothing").json()["error"]
    )
    assert "nothing at this address" in program.get("/api/v1/nothing").json()["error"]
    assert "<h1>" in world.browser().get("/nothing").text
    assert program.put("/api/v1/entries").status_code == 405
    bad = {"Authorization": "Bearer nonsense"}
    answer = program.get("/api/v1/benchmarks", headers=bad)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_fault_of_ours_tells_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("evaluator.service.benchmarks.every", broken)
    client = TestClient(world.app, base_url=BASE, raise_server_exceptions=False)
    answer = client.get("/api/v1/benchmarks")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "default-src" in answer.headers["content-security-policy"]


def test_the_interface_describes_itself(world: World) -> None:
    found = world.program(None).get("/api/v1/openapi.json").json()
    assert "/api/v1/entries/{number}/submit" in found["paths"]
    assert not any(path.startswith("/sign-in") for path in found["paths"])
