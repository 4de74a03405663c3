"""The asyncio client of imfast: pure Python, over WebSocket or TCP.

::

    import imfast.client

    async with imfast.client.connect("ws://localhost:8080", token=token) as im:
        sent = await im.send(to="bob", text="hi")
        async for update in im:
            ...

From the network inwards: ``transport`` carries frames that ``codec`` encodes; a ``session`` is one
connection; a ``link`` makes sessions as long as it takes; ``receiver`` makes receiving exact.
"""

from .client import IMFast, connect
from .errors import (
    ConflictError,
    ConnectionClosedError,
    IMFastError,
    KickedError,
    LimitError,
    NotAllowedError,
    OutcomeUnknownError,
    ProtocolError,
    RequestError,
    ServerError,
)
from .link import State
from .models import (
    Connected,
    Conversation,
    ConversationsPage,
    Event,
    Expired,
    Group,
    GroupChange,
    HistoryPage,
    Member,
    MembersPage,
    Message,
    Presence,
    Receipt,
    ReceiptCounts,
    Sent,
    Summary,
    Sync,
    Update,
)
from .notices import Notices
from .options import Options

__all__ = [
    "connect",
    "IMFast",
    "Options",
    "State",
    "Sync",
    # targets
    "Conversation",
    "Group",
    # results
    "Connected",
    "ConversationsPage",
    "Event",
    "Expired",
    "GroupChange",
    "HistoryPage",
    "Member",
    "MembersPage",
    "Message",
    "Notices",
    "Presence",
    "Receipt",
    "ReceiptCounts",
    "Sent",
    "Summary",
    "Update",
    # errors
    "ConflictError",
    "ConnectionClosedError",
    "IMFastError",
    "KickedError",
    "LimitError",
    "NotAllowedError",
    "OutcomeUnknownError",
    "ProtocolError",
    "RequestError",
    "ServerError",
]
