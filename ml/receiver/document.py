"""What the OpenAPI document says: answers, refusals, and the body of a push."""

from typing import Any

from pydantic import BaseModel

from ml.receiver import body


class RefusedPart(BaseModel):
    """What of a run was not taken; the rest was."""

    reason: str
    payload: str | None
    value: str | None


class Accepted(BaseModel):
    """A run that landed; the same content is the same batch."""

    batch_id: str
    project: str
    run_id: str
    attempt: int
    reports: int
    refused: list[RefusedPart]


class Problem(BaseModel):
    """Why a request was refused, and what would have been right."""

    error: str
    expected: str


class Health(BaseModel):
    """Answers while the service runs."""

    status: str


FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [body.MANIFEST],
                "properties": {
                    body.MANIFEST: {"type": "string", "description": "JSON, the fields of docs/history-layout.md"},
                    body.REPORT: {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "filename = path inside the run, its folder = variant",
                    },
                },
            },
            "encoding": {body.MANIFEST: {"contentType": "application/json"}},
        }
    },
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no multipart body, cut off, or no manifest that is JSON"},
    401: {"model": Problem, "description": "no token, or none that is known"},
    403: {"model": Problem, "description": "the token is for another project"},
    408: {"model": Problem, "description": "nothing came for a minute"},
    413: {"model": Problem, "description": "a part, or all of them, too large or too many"},
    415: {"model": Problem, "description": "not multipart/form-data"},
    422: {"model": Problem, "description": "a manifest or file name that is refused"},
    429: {"model": Problem, "description": "too often; Retry-After says when"},
    503: {"model": Problem, "description": "PostgreSQL or the disk is not there; Retry-After says when"},
}
UPLOAD_REFUSALS = {
    **REFUSALS,
    404: {"model": Problem, "description": "no upload of this token, or it expired"},
    409: {"model": Problem, "description": "another offset (Upload-Offset says which), or another writer"},
}
START = {
    "parameters": [
        {
            "name": "Upload-Length",
            "in": "header",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "description": "bytes of the body that `POST /api/v1/runs` would be sent, whose Content-Type this has",
        }
    ]
}
APPEND = {
    "parameters": [
        {
            "name": "Upload-Offset",
            "in": "header",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
            "description": "bytes that are there already",
        }
    ],
    "requestBody": {
        "content": {"application/partial-upload": {"schema": {"type": "string", "format": "binary"}}},
    },
}
