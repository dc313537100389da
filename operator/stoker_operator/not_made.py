"""That a pod cannot be made, and why: raised on the way to its creation, told in the function's conditions."""

from stoker.reasons import Reason


class NotMade(Exception):  # noqa: N818  the name states the fact
    """A pod cannot be made; the reason and one sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
