"""One evaluation from start to end: data, staging, sessions, scoring."""
