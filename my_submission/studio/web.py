"""What the studio takes of the extra `service`: all of it here, since a submission runs without it.

Guarded, so that the check of what a submission imports finds that it can do without.
"""

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise ImportError(f"{error}; the studio needs the extra `service`") from error

__all__ = [
    "ASGIApp",
    "ClientDisconnect",
    "FileResponse",
    "HTMLResponse",
    "Headers",
    "JSONResponse",
    "Message",
    "MutableHeaders",
    "Receive",
    "Request",
    "Response",
    "Route",
    "Scope",
    "Send",
    "Starlette",
    "StreamingResponse",
    "run_in_threadpool",
    "uvicorn",
]
