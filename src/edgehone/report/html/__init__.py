"""report.html: the evidence as one self-contained file, readable without JavaScript and in print."""

from edgehone.report.html.page import page

__all__ = ["page"]
