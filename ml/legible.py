"""Text from outside, made safe to look at: in a terminal, a log or an error message."""

import re

# As the inside of a character class: control characters, line and paragraph separators, and marks that turn the
# direction of writing, with which a text shows other than it reads (CVE-2021-42574).
UNPRINTABLE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
SURROGATES = "\ud800-\udfff"

_ESCAPED = re.compile(f"(?![\n\t])[{UNPRINTABLE}{SURROGATES}]")


def legible(text: str) -> str:
    r"""The text with every unprintable character as ``\uXXXX``; line breaks and tabs stay."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
