"""Programs of the dialect as plain Python: `PlainMachine` is what `bombus.bpf` runs them on."""

from bombus.plain.machine import Outcome, PlainMachine

__all__ = ["Outcome", "PlainMachine"]
