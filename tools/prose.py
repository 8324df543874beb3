"""List phrases that CONTRIBUTING.md advises against: `python tools/prose.py [FILE...]`, by default all files of the repository.

Only prose is read: comments, docstrings and messages of Python files, and the text of Markdown and YAML files. Exit code 1 if a
phrase was found. To quote a phrase on purpose, put `prose: quoted` in a comment on the same line.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTEAD = {
    r"what is left of": "the remaining …",
    r"that which": "what, or a noun",
    r"whoever": "a user who, a process that",
    r"where(?:ver)? there (?:is|are) (?:none|no\b)": "if none exists",
    r"as (?:it|they) (?:is|are|stands?)(?=[.,;:)])": "unchanged",
    r"of (?:its|their|one's|our|his|her) own\b": "its own …",
    r"\bbesides?\b(?! the point)": "next to, also",
    r"\banew\b": "again",
    r"\bgoes on\b|\bgo on\b|\bwent on\b": "continues",
    r"\bfor good\b": "permanently",
    r"\bso (?:many|often|long as|much)\b": "at most N, N times",
    r"\bnobody\b|\bsomebody\b": "no process, no user, another user",
    r"\bhears? of\b|\bis told\b|\bare told\b": "receives",
    r"\bneeds? not\b": "does not have to",
    r"\blest\b|\bthereof\b|\bwherein\b|\bhereby\b|\bupon\b|\balbeit\b": "a plain word",
}
"""Phrases as regular expressions, with what to write instead."""
PATTERN = re.compile("|".join(f"({phrase})" for phrase in INSTEAD), re.IGNORECASE)
SUFFIXES = {".py", ".md", ".yaml", ".html", ".toml", ".template"}
SKIPPED = (
    "docs/glossary.md",
    "tools/prose.py",
    "tests/assets/",
    "tests/pipelines/golden/",
    "tests/katib/golden/",
    "studies/schema.json",
)
QUOTED = "prose: quoted"


def files() -> list[Path]:
    """Return the files of the repository that hold prose."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if Path(name).suffix in SUFFIXES and not name.startswith(SKIPPED)]


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of prose of a file, with their numbers."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if path.suffix != ".py":
        yield from enumerate(lines, 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


def findings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the phrase and the advice of each finding in a file."""
    source = path.read_text(encoding="utf-8").splitlines()
    for number, line in prose(path):
        if number <= len(source) and QUOTED in source[number - 1]:
            continue
        for match in PATTERN.finditer(line):
            advice = next(text for text, group in zip(INSTEAD.values(), match.groups(), strict=False) if group)
            yield number, match.group(), advice


def main(arguments: list[str]) -> int:
    """Print each finding on a line. Return 1 if there is one."""
    found = 0
    for path in [Path(name).absolute() for name in arguments] or files():
        if not path.is_file() or path.is_symlink():
            continue
        for number, phrase, advice in sorted(set(findings(path))):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{name}:{number}: {phrase!r}: write {advice}")
            found += 1
    print(f"{found} phrase{'' if found == 1 else 's'} to rewrite", file=sys.stderr)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
