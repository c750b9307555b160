"""What the tests of fetching have in common."""

from tests.my_submission.weights.served import hub_cache, hub_rows, net, server, url_rows, weights

__all__ = ["hub_cache", "hub_rows", "net", "server", "url_rows", "weights"]
