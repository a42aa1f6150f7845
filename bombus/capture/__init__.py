"""Packet captures: pcap and pcapng, read and written as streams."""

from __future__ import annotations

from bombus.capture.files import create_capture, open_capture
from bombus.capture.model import CaptureReader, CaptureWriter, Packet

__all__ = ["CaptureReader", "CaptureWriter", "Packet", "create_capture", "open_capture"]
