"""The written reference is what the signatures say now."""

from __future__ import annotations

from components.reference import FILE, reference, section
from tests.components.toys import toys
from tests.conftest import ROOT


def test_committed_reference_is_current() -> None:
    assert (ROOT / FILE).read_text() == reference()


def test_section_tells_all_that_a_signature_declares() -> None:
    text = section(toys.spec)
    assert "| `--mask` | LabelMap | reads (may be left out) | a second label map, told over two lines |" in text
    assert "| `--shift` | `1` | an integer, at least 0, at most 9 (classes) | how far |" in text
    assert "| `--share` | `0.25 0.75` | 2 values, each a number | two numbers |" in text
    assert "| `--names` | none | one or more of: text or none | words |" in text
