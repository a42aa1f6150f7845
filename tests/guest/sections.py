"""In the guest: every kind of section, made, loaded and attached, see tests/linux/test_sections.py."""

from __future__ import annotations

from test_sections import failures, outcomes

# The guest's kernel has these, which the machine's may lack.
NEEDED = ("kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session", "ksyscall", "kretsyscall",
          "fentry", "fexit", "fmod_ret", "lsm", "lsm.s", "lsm_cgroup")  # fmt: skip


def test_every_kind_of_section_in_the_guest() -> None:
    rows = outcomes()
    refused = {base: text for base, text in rows if text.startswith("refused")}
    assert not failures(rows), failures(rows)
    missing = {base: text for base, text in refused.items() if base in NEEDED}
    assert not missing, missing
