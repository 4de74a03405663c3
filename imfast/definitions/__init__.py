"""What requests over HTTP and their answers look like, in one place.

The server decodes by these types, `imfast.ServerAPI` speaks by them, and `/v1/openapi.json` is
made of them. Nothing here is loaded before the first request that needs it.
"""
