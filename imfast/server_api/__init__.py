"""The server API for Python backends: `ServerAPI` for Django and Celery, `AsyncServerAPI` for
FastAPI.

::

    from imfast import ServerAPI

    with ServerAPI("http://127.0.0.1:8080", key=os.environ["IMFAST_KEY"]) as api:
        token = api.create_user("alice").token
        api.send(to="alice", text="Welcome", key="welcome-alice")

Requests and answers are the types that the server itself decodes by: `imfast.definitions`.
"""

from imfast.server_api.asynchronous import AsyncServerAPI
from imfast.server_api.errors import ServerAPIError
from imfast.server_api.synchronous import ServerAPI

__all__ = ["AsyncServerAPI", "ServerAPI", "ServerAPIError"]
