"""What the tests of the documentation read from a page: its headings, its sections and its code blocks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown.extensions.toc import slugify

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
SHELL = {"", "sh", "bash", "console"}
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_TOOLS = re.compile(r"^(?:\.venv/bin/)?(fourgate|make)\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced piece of a page; `title` names the file that it stands for, if any."""

    language: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, up to the next heading of its level or above."""

    title: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        """Its code blocks."""
        return blocks(self.text)


def blocks(text: str) -> list[Block]:
    """Code blocks of a page, in order, without the indent of a list."""
    return [
        Block(found["language"], found["title"] or "", re.sub(f"^{found['indent']}", "", found["text"], flags=re.M))
        for found in _FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", text)


def sections(text: str, level: int) -> dict[str, Section]:
    """Sections of one level by their anchor."""
    hidden = _FENCE.sub(lambda found: re.sub(r"^#", " ", found[0], flags=re.M), text)  # a comment is no heading
    found = list(_HEADING.finditer(hidden))
    ends = [
        next((later.start() for later in found[number + 1 :] if len(later[1]) <= level), len(text))
        for number, _ in enumerate(found)
    ]
    return {
        slugify(heading[2], "-"): Section(heading[2], text[heading.end() : end])
        for heading, end in zip(found, ends, strict=True)
        if len(heading[1]) == level
    }


def anchors(text: str) -> set[str]:
    """Anchors of all headings of a page."""
    return {slugify(re.sub(r"[`*]", "", heading[2]), "-") for heading in _HEADING.finditer(prose(text))}


def command_lines(text: str) -> Iterator[list[str]]:
    """Every call of `fourgate` or `make` in the shell blocks of a page, split into words, without comments."""
    for block in blocks(text):
        if block.language in SHELL:
            for line in block.text.replace("\\\n", " ").splitlines():
                found = _TOOLS.match(line.strip().removeprefix("$ "))
                if found:
                    words = shlex.split(line.strip().removeprefix("$ "), comments=True)
                    yield [found[1], *words[1:]]


def spans(text: str) -> Iterator[list[str]]:
    """Every call of `fourgate` or `make` between single backticks, split into words."""
    for span in re.findall(r"`((?:\.venv/bin/)?(?:fourgate|make) [^`\n]+)`", prose(text)):
        yield span.removeprefix(".venv/bin/").split()
