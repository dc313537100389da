"""Asks the API server who a token belongs to (authentication.k8s.io TokenReview; RBAC: create tokenreviews)."""

from msgspec import Struct

from stoker_gateway.kubernetes.token_reviews import ANSWER_S, AUDIENCE, Ask, Review
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import Unreachable

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class _User(Struct, frozen=True):
    username: str = ""


class _Status(Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] | None = None


class _TokenReview(Struct, frozen=True):
    status: _Status = _Status()


def asking(kube: KubeClient) -> Ask:
    """The question, for TokenReviews."""

    async def ask(token: str) -> Review:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            answer = await kube.request("POST", _PATH, _TokenReview, body=body, timeout_s=ANSWER_S / 2)
        except Unreachable:
            # It changes nothing there, so it may be asked again: a kept connection may just have gone stale.
            answer = await kube.request("POST", _PATH, _TokenReview, body=body, timeout_s=ANSWER_S / 2)
        status = answer.status
        return Review(status.authenticated, status.user.username, status.audiences or ())

    return ask
