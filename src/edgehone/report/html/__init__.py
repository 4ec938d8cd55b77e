"""report.html: the evidence as one file that needs nothing else, for people with and without a script, on paper too."""

from edgehone.report.html.page import page

__all__ = ["page"]
