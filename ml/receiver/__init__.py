"""The push endpoint: CI jobs send their runs here, and what they send lands as any other source's does.

`body` streams a request to disk, `reception` checks and lands it, `app` says it in HTTP, `server` runs it. `uploading`
is the other end, for CI jobs; `ci_environment` tells it what their manifest says.
"""
