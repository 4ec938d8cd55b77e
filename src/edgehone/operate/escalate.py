"""Notify a person by a webhook as Alertmanager's, an e-mail, or a command, with the whole incident as one page."""

from __future__ import annotations

import json
import os
import shlex
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgehone.core.errors import EdgehoneError, InputError

_SECONDS = 15.0
_COMMAND_SECONDS = 60.0


class NotDelivered(EdgehoneError):
    """The channel did not deliver the notification."""


@dataclass(frozen=True)
class Call:
    """A notification: a title, the labels of the alert, the facts, and the file with the whole incident."""

    title: str
    labels: Mapping[str, str]
    detail: Mapping[str, Any]
    story: Path
    began: str


class Channel(Protocol):
    """A channel that notifies a person."""

    @property
    def name(self) -> str:
        """Its name in the journal."""
        ...

    def deliver(self, call: Call) -> None:
        """Deliver the notification. Raises NotDelivered with the reason."""
        ...


@dataclass(frozen=True)
class Webhook:
    """POST an alert, as clients of Alertmanager send it to /api/v2/alerts; a URL with another path gets the same."""

    url: str

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return f"webhook {urlsplit(self.url).netloc}"

    def deliver(self, call: Call) -> None:
        """Deliver the notification."""
        alert = {
            "labels": {"alertname": "edgehone_operate_escalated", **call.labels},
            "annotations": {
                "summary": call.title,
                "story": str(call.story),
                "detail": json.dumps(call.detail),
            },
            "startsAt": call.began,
        }
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, json.dumps([alert]).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):
                pass
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise NotDelivered(f"{self.url}: {error}") from error


@dataclass(frozen=True)
class Mail:
    """Send an e-mail with the page attached. `server` is HOST or HOST:PORT; smtps://HOST encrypts from the start."""

    to: str
    sender: str
    server: str
    user: str | None = None
    password_file: Path | None = None

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return f"mail to {self.to}"

    def deliver(self, call: Call) -> None:
        """Deliver the notification."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = call.title, self.sender, self.to
        message.set_content(f"{call.title}\n\n{json.dumps(call.detail, indent=1)}\n")
        message.add_attachment(call.story.read_text("utf-8"), subtype="html", filename=call.story.name)
        parts = urlsplit(self.server if "://" in self.server else f"smtp://{self.server}")
        kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
        try:
            with kind(parts.hostname or "localhost", parts.port or 0, timeout=_SECONDS) as server:
                if self.user and self.password_file:
                    if parts.scheme != "smtps":
                        server.starttls()
                    server.login(self.user, self.password_file.read_text("utf-8").strip())
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(f"{self.server}: {error}") from error


@dataclass(frozen=True)
class Command:
    """Run a command. It gets the call as JSON on its standard input, and the page's path in EDGEHONE_STORY."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return f"command {self.words[0]}"

    def deliver(self, call: Call) -> None:
        """Deliver the notification."""
        told = {"title": call.title, "labels": call.labels, "detail": call.detail, "story": str(call.story)}
        try:
            subprocess.run(
                self.words,
                input=json.dumps(told).encode(),
                env={**os.environ, "EDGEHONE_STORY": str(call.story)},
                timeout=_COMMAND_SECONDS,
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotDelivered(f"{shlex.join(self.words)}: {error}") from error


def webhook(url: str) -> Webhook:
    """Return the channel of a URL. Raises InputError for other text."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--webhook {url} is no URL", hint="--webhook http://127.0.0.1:9093/api/v2/alerts")
    return Webhook(url)


def command(text: str) -> Command:
    """Return the channel of a command line. Raises InputError if it cannot be split."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(
            f"--command {text!r} cannot be read: {error}", hint="quote it as in a shell"
        ) from error
    if not words:
        raise InputError("--command is empty", hint='--command "notify-send edgehone"')
    return Command(words)
