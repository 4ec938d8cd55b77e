"""GET /dashboard: the page. It has no data and needs no key; what it asks for (GET /history) does."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.operations import Operation
from edgehone.serve.page.document import document

_STYLES = ("page/base.css", "dashboard/style.css")
_SCRIPTS = (
    "page/api.js", "page/elements.js", "page/key.js", "dashboard/units.js", "dashboard/history.js",
    "dashboard/panels.js", "dashboard/plot.js", "dashboard/alerts.js", "dashboard/main.js",
)  # fmt: skip


class Dashboard:
    """The route of the page."""

    def __init__(self) -> None:
        self._page = document("dashboard/page.html", _STYLES, _SCRIPTS)

    def operations(self) -> list[Operation]:
        """Return the operation."""
        return [Operation("GET", "/dashboard", self.page, guarded=False, media="text/html")]

    async def page(self, request: Request) -> Response:
        """Return the page with plots of the last hours and days."""
        return Response(self._page.body, headers=self._page.headers, media_type="text/html")
