"""Words and paragraphs of which tables' notes and the book's fragments are put together."""

from collections.abc import Sequence


def joined(*parts: str) -> str:
    """Paragraphs, those that say something."""
    return "\n\n".join(part for part in parts if part)


def ended(text: str) -> str:
    """A fragment as it is written: with one line end, or empty."""
    return text.rstrip() + "\n" if text else ""


def listed(words: Sequence[str]) -> str:
    """'a, b and c'; nothing of none."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
