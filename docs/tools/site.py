"""What `mkdocs build` needs beside the pages of docs/: it is named under `hooks` in mkdocs.yml.

- The reference: a page for each part of the package, with all that is public in it.
- Files outside docs/ that pages link to, as pages of the site; links of all pages, which are
  written as GitHub follows them, lead there.
- Equations: blocks of LaTeX, as GitHub shows them, become MathML, which browsers show themselves.
"""

import functools
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "models", "layers", "losses", "metrics", "architectures", "encoders", "data", "training",
    "inference", "export", "hub", "quantization", "objects", "operating_point", "analysis",
    "reporting", "drawing", "folding", "tiling", "demo", "studies.rivals", "studies.experiments",
    "studies.timing",
)  # fmt: skip
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "examples/*.py", "examples/runtimes/*.py")
NOTEBOOKS = "notebooks"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
GENERATED = {}  # from the address of a page on the site to the file that it is made of, if any


def on_config(config):
    """Fills in what the navigation names by `@`, and the fence of equations."""
    reference = {"@reference": [{part: f"reference/{part}.md"} for part in PARTS]}
    outside = {page_of(path): path for path in outside_files()}
    shown = [name for name in outside if name.count("/") == 1]
    reference["@outside"] = [{title_of(outside[name]): name} for name in shown]
    for section in config.nav:
        for title, pages in section.items():
            section[title] = [each for page in pages for each in reference.get(page, [page])]
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": equation}]
    return config


def on_files(files, config):
    """Adds the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for part in PARTS:
        files.append(File.generated(config, f"reference/{part}.md", content=reference_page(part)))
    for path in outside_files():
        GENERATED[page_of(path)] = path
        files.append(File.generated(config, page_of(path), content=outside_page(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads relative links to where their files are on the site."""
    source = GENERATED.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def lead(match):
        target, hash_mark, anchor = match[2].partition("#")
        if not target or ":" in target or page.file.src_uri.startswith("reference/"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = path.removeprefix("docs/") if path.startswith("docs/") else page_of(path)
        here = posixpath.dirname(page.file.src_uri) or "."
        return match[1] + posixpath.relpath(there, here) + hash_mark + anchor + match[3]

    return LINK.sub(lead, markdown)


def outside_files():
    """Paths of the files outside docs/ that the site shows, from the root of the repository."""
    found = [path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def page_of(path):
    """The page of the site that shows a file outside docs/."""
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def title_of(path):
    """What the navigation calls a file outside docs/."""
    return Path(path).stem.capitalize()


def outside_page(path):
    """A file outside docs/ as a page: Markdown as it is, other text as a block."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = "python" if path.endswith(".py") else "text"
    return f"# {path}\n\n````{language}\n{text}\n````\n"


@functools.cache
def package():
    """The package as Griffe reads it."""
    import griffe

    return griffe.load("keras_deepskip", search_paths=[str(ROOT)], resolve_aliases=True)


def reference_page(part):
    """All public functions and classes of a part, for mkdocstrings; the package is not imported."""
    module = package()[part]
    if module.exports is not None:
        names = sorted(map(str, module.exports))
    else:
        names = sorted(name for name, member in module.members.items() if not member.is_alias)
    told = [name for name in names if not name.startswith("_") and module[name].has_docstring]
    head = f"# keras_deepskip.{part}\n\n{module.docstring.value}\n\n"
    return head + "".join(f"::: keras_deepskip.{part}.{name}\n\n" for name in told)


def equation(source, language, css_class, options, md, **_):
    """A block of LaTeX as MathML."""
    from latex2mathml.converter import convert

    limits = source.replace(r"\sum_", r"\sum\limits_")  # above and below, as LaTeX sets displays
    return f'<div class="{css_class}">{convert(" ".join(limits.split()), display="block")}</div>'
