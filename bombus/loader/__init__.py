"""Loads objects into a kernel, whichever it is."""

from bombus.loader.load import Loaded, load, prepare

__all__ = ["Loaded", "load", "prepare"]
