"""What the tests of fetching have in common."""

from tests.my_submission.weights.served import cache, hub_cache, hub_rows, net, server, url_rows, weights

__all__ = ["cache", "hub_cache", "hub_rows", "net", "server", "url_rows", "weights"]
