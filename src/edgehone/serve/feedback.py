"""POST /v1/feedback: a client's feedback on an answer."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.http import Refused, read_json
from edgehone.serve.measured.recent import Answer, Recent, Repeated, Unknown, say
from edgehone.serve.observation import Verdict
from edgehone.serve.observers import Observers
from edgehone.serve.operations import Operation
from edgehone.serve.record import LONGEST_ID


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v1/feedback.

    `id` is that of the answer: the OpenAI API's, or the `id` that a request to a graph gave. `label` is the class that
    would have been right, for a batch one for each sample; `score` is from 0 to 1.
    """

    id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
    verdict: Verdict | None = None
    label: int | list[int] | None = None
    score: Annotated[float, Meta(ge=0, le=1)] | None = None


class FeedbackRoute:
    """The route over the answers that are remembered."""

    def __init__(self, recent: Recent, observers: Observers) -> None:
        self._recent, self._observers = recent, observers

    def operations(self) -> list[Operation]:
        """Return the operation."""
        answers = {404: "No such answer is remembered.", 409: "The same was said of the answer before."}
        return [Operation("POST", "/v1/feedback", self.feedback, body=FeedbackRequest, answers=answers)]

    async def feedback(self, request: Request) -> Response:
        """Take a client's feedback on an answer: good or bad, the right class, a score."""
        asked = await read_json(request, FeedbackRequest)
        if asked.verdict is None and asked.label is None and asked.score is None:
            raise Refused(400, "nothing is said of the answer: give verdict, label or score", field="verdict")
        self._observers.flush()  # the answer may have been given just now
        try:
            answer = self._recent.find(asked.id)
            labels = _labels(asked, answer)
            told = say(asked.id, answer, asked.verdict, labels, asked.score)
        except Unknown:
            raise Refused(
                404, f"no answer {asked.id[:80]!r} is remembered: it is unknown or too old", field="id"
            ) from None
        except Repeated as error:
            raise Refused(
                409, f"{error.what} of {asked.id[:80]!r} was given before", field=error.what.partition(",")[0]
            ) from None
        for one in told:
            self._observers.feedback(one)
        correct = [one.correct for one in told if one.correct is not None]
        one_label = isinstance(asked.label, int)
        body = {
            "id": asked.id,
            "model": answer.model,
            "correct": correct[0] if one_label else correct or None,
        }
        return Response(msgspec.json.encode(body), media_type="application/json")


def _labels(asked: FeedbackRequest, answer: Answer) -> list[int] | None:
    """Return a label for each sample of the answer. Raises Refused if they do not fit."""
    if asked.label is None:
        return None
    if answer.classes is None:
        raise Refused(400, f"{answer.model} answers no classes: give a verdict or a score", field="label")
    labels = asked.label if isinstance(asked.label, list) else [asked.label]
    if len(labels) != len(answer.classes):
        raise Refused(
            400,
            f"label has {len(labels)} entries, and the answer has {len(answer.classes)} samples",
            field="label",
        )
    return labels
