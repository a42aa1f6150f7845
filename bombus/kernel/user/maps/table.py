"""The common half of hash-like maps: keys in a stable order, each with a slot.

A dict finds keys; a ring of elements gives the order that get_next_key walks, so that removing the current key
does not disturb a walk. The kernel's order is by bucket, ours by age.
"""

from __future__ import annotations

from bombus.kernel.user.maps.slab import Slot


class Element:
    """One key with its value's slot, linked to its neighbours in the order of insertion."""

    __slots__ = ("address", "after", "before", "key", "view")

    def __init__(self, key: bytes, slot: Slot) -> None:
        self.key = key
        self.address, self.view = slot
        self.after: Element = self
        self.before: Element = self


class Table:
    __slots__ = ("elements", "head")

    def __init__(self) -> None:
        self.elements: dict[bytes, Element] = {}
        self.head = Element(b"", (0, memoryview(b"")))

    def add(self, key: bytes, slot: Slot) -> Element:
        element = Element(key, slot)
        self.insert(element)
        return element

    def insert(self, element: Element) -> None:
        """Append an element that the caller made."""
        head = self.head
        last = head.before
        element.before, element.after = last, head
        last.after = head.before = element
        self.elements[element.key] = element

    def replace(self, old: Element, new: Element) -> None:
        """Put an element with the same key where another was."""
        new.before, new.after = old.before, old.after
        new.before.after = new.after.before = new
        self.elements[new.key] = new

    def remove(self, element: Element) -> None:
        del self.elements[element.key]
        element.before.after = element.after
        element.after.before = element.before

    def following(self, key: bytes | None) -> Element | None:
        """The element after a key; the first when the key is None or not there. None at the end."""
        element = self.head if key is None else self.elements.get(key, self.head)
        after = element.after
        return None if after is self.head else after

    def __len__(self) -> int:
        return len(self.elements)
