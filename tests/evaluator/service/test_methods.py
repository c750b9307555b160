"""HEAD, OPTIONS, and methods that an address has not."""

from tests.evaluator.service.world import World

PAGES = ("/", "/benchmarks/bench", "/queue", "/sign-in", "/account", "/nothing", "/static/style.css")
API = (
    "/api/v1/benchmarks",
    "/api/v1/benchmarks/bench/mixtures.zip",
    "/api/v1/openapi.json",
    "/api/v1/entries/9",
)


def test_head_is_get_without_the_body(world: World) -> None:
    for address in (*PAGES, *API, "/api/quality_checker/queue"):
        asked = world.browser().get(address)
        found = world.browser().head(address, headers={"Range": "bytes=0-9"})
        assert (found.status_code, found.content) == (asked.status_code, b""), address
        for name in ("content-length", "content-type", "content-security-policy"):
            assert found.headers[name] == asked.headers[name], address


def test_an_address_says_what_it_takes(world: World) -> None:
    expected = {
        "/": "GET, HEAD, OPTIONS",
        "/sign-in": "GET, POST, HEAD, OPTIONS",
        "/sign-out": "POST, OPTIONS",
        "/api/v1/entries/1": "GET, PATCH, DELETE, HEAD, OPTIONS",
        "/api/v1/uploads/1": "PATCH, DELETE, HEAD, OPTIONS",
    }
    for address, methods in expected.items():
        asked, refused = world.browser().options(address), world.browser().put(address)
        assert (asked.status_code, asked.content, asked.headers["allow"]) == (204, b"", methods)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)
        assert "cannot be done with this address" in refused.text
    assert world.browser().options("/nothing").status_code == 404
    assert "allow" not in world.browser().put("/nothing").headers
