"""Sampling profiles: a BPF program counts stacks of perf events; stacks get names and become pictures and files."""

from __future__ import annotations

from bombus.profile.filter import Filter, FilterError
from bombus.profile.model import Profile, Stack
from bombus.profile.sampler import Sampler

__all__ = ["Filter", "FilterError", "Profile", "Sampler", "Stack"]
