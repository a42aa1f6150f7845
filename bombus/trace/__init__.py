"""Objects traced: everything attached, events as they come, maps as pictures at the end."""

from __future__ import annotations

from bombus.trace.session import Event, Session

__all__ = ["Event", "Session"]
