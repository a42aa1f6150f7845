"""The common half of hash-like maps: keys in a stable order, each with a slot.

A dict finds keys; a ring of elements gives the order that get_next_key walks, so that removing the current key
does not disturb a walk. The kernel's order is by bucket, ours by age.
"""

from __future__ import annotations

from bombus.kernel.user.maps.slab import Slot


class Element:
    """One key with its value's slot, linked to its neighbours in the order of insertion.

    number: grows along the order; batch operations go on from it.
    """

    __slots__ = ("address", "after", "before", "key", "number", "view")

    def __init__(self, key: bytes, slot: Slot) -> None:
        self.key = key
        self.address, self.view = slot
        self.number = 0
        self.after: Element = self
        self.before: Element = self


class Table:
    __slots__ = ("_next", "elements", "head")

    def __init__(self) -> None:
        self._next = 0
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
        element.number = self._next
        self._next += 1
        element.before, element.after = last, head
        last.after = head.before = element
        self.elements[element.key] = element

    def replace(self, old: Element, new: Element) -> None:
        """Put an element with the same key where another was."""
        new.number = old.number
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

    @property
    def end(self) -> int:
        """The number that the next new element gets."""
        return self._next

    def from_number(self, number: int) -> Element | None:
        """The first element whose number is at least this."""
        element = self.head.after
        while element is not self.head and element.number < number:
            element = element.after
        return None if element is self.head else element

    def __len__(self) -> int:
        return len(self.elements)
