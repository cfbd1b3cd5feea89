"""The push endpoint: CI jobs send their runs here, and what they send lands as any other source's does.

`gate` says who may, `incoming` and `body` stream a request to disk, `reception` checks and lands it, `announcing` tells
Airflow. `app` says it in HTTP, with `resuming` and `uploads` for what comes in pieces; `server` runs it. `uploading`,
`form` and `pieces` are the other end, for CI jobs; `ci_environment` tells it what their manifest says.
"""
