"""Running an object's programs over captures and over single inputs."""

from __future__ import annotations

from bombus.replay.choose import choose_program, needed_programs
from bombus.replay.session import Event, Outcome, Tally, replay

__all__ = ["Event", "Outcome", "Tally", "choose_program", "needed_programs", "replay"]
