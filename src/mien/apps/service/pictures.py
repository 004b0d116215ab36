"""`POST /v1/predict`: the faces of pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from mien.apps.service.engine import ReadOptions, ReadPicture
from mien.apps.service.errors import Refused, refusal_of
from mien.apps.service.schema import (
    ErrorAnswer,
    ErrorDetail,
    FaceAnswer,
    PictureAnswer,
    PredictAnswer,
)
from mien.apps.service.state import Service, service_of
from mien.apps.service.uploads import FIELD, UploadLimits, read_files
from mien.errors import InputError
from mien.runtime.probabilities import NamedPrior

router: Final = APIRouter()

_BINARY: Final = {"type": "string", "format": "binary"}
_ERROR_SCHEMA: Final = {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}

UPLOAD_BODY: Final[Mapping[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {**_BINARY, "minLength": 1}},
            "image/jpeg": {"schema": {**_BINARY, "minLength": 1}},
            "image/png": {"schema": {**_BINARY, "minLength": 1}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {FIELD: {"type": "array", "minItems": 1, "items": _BINARY}},
                }
            },
        },
    }
}
"""How OpenAPI is told of bodies that the route reads itself."""

REFUSALS: Final[Mapping[int | str, dict[str, Any]]] = {
    # A model would be described in the media type of the route's success, which is not always JSON.
    status: {"content": {"application/json": {"schema": _ERROR_SCHEMA}}, "description": text}
    for status, text in {
        400: "A form that cannot be read.",
        401: "No token, or a wrong one.",
        403: "From another site.",
        408: "The upload took too long.",
        413: "Larger, more or longer than is taken.",
        415: "Not of a kind that is read, by its content.",
        422: "A parameter that does not fit, or a damaged file.",
        429: "Too busy; `Retry-After` says when to come again.",
        503: "Too late, or being stopped; `Retry-After` says when to come again.",
    }.items()
}
"""What the routes that take files may refuse."""


async def asked_options(
    service: Annotated[Service, Depends(service_of)],
    prior: Annotated[
        NamedPrior,
        Query(
            description="How often each class is expected: as in the training data, all alike, or half the "
            "way between the two."
        ),
    ] = "training",
    view: Annotated[
        str,
        Query(max_length=100, description="The classes that are allowed: a view of the model, such as 7."),
    ] = "all",
    threshold: Annotated[
        float | None,
        Query(
            ge=0,
            le=1,
            description="Confidence below which a face is abstained on; the model's own if left out.",
        ),
    ] = None,
) -> ReadOptions:
    """How a request wants its faces to be read."""
    return service.read_options(prior=prior, view=view, threshold=threshold)


@router.post(
    "/v1/predict",
    response_model=PredictAnswer,
    responses=dict(REFUSALS),
    openapi_extra=dict(UPLOAD_BODY),
    summary="The faces of one or more pictures",
)
async def predict(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    options: Annotated[ReadOptions, Depends(asked_options)],
    faces: Annotated[
        Literal["detect", "cropped"],
        Query(description="`detect` looks for faces; `cropped` takes each picture as one face."),
    ] = "detect",
) -> Response:
    """Send a picture as the body, or several as fields `files` of a form."""
    engine, config = service.engine, service.config
    engine.check_room()
    limits = UploadLimits(config.files, config.picture_bytes, config.upload_seconds)
    with service.room.held_by() as take:
        files = await read_files(request, limits, take=take)
        began = time.perf_counter()
        with engine.admitted(len(files)):
            find = service.find if faces == "detect" else None
            read = await asyncio.gather(
                *(engine.read(file.read(), options, find=find) for file in files), return_exceptions=True
            )
    pictures = [_answer(index, result) for index, result in enumerate(read)]
    if all(isinstance(result, BaseException) for result in read):
        raise _refused(read[0])
    answer = PredictAnswer(
        model=service.model_name,
        pictures=pictures,
        milliseconds=round(1000 * (time.perf_counter() - began), 2),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _answer(index: int, result: ReadPicture | BaseException) -> PictureAnswer:
    if isinstance(result, BaseException):
        refused = _refused(result)
        detail = ErrorDetail(code=refused.code, message=str(refused))
        return PictureAnswer(index=index, width=None, height=None, faces_found=0, faces=[], error=detail)
    return PictureAnswer(
        index=index,
        width=result.width,
        height=result.height,
        faces_found=result.faces_found,
        faces=[FaceAnswer.of(face) for face in result.faces],
        error=None,
    )


def _refused(error: Any) -> Refused:
    """What a picture is refused with; an error that is no fault of the picture is raised."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, InputError):
        return refusal_of(error)
    raise error
