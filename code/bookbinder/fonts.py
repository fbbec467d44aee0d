"""The letters of text and code, which the site serves itself.

One family drawn for text and for code, Latin and Greek (SIL Open Font
License), from npm: about 85 KB, of which a page asks for what it shows.
"""

from typing import NamedTuple

LATIN = (
    "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+0304,"
    "U+0308,U+0329,U+2000-206F,U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215,"
    "U+FEFF,U+FFFD"
)
GREEK = "U+0370-0377,U+037A-037F,U+0384-038A,U+038C,U+038E-03A1,U+03A3-03FF"


class Font(NamedTuple):
    """One file: a family's letters of one script, weight and slant."""

    family: str
    script: str
    weight: int
    slant: str = "normal"

    @property
    def package(self) -> str:
        return self.family.lower().replace(" ", "-")

    @property
    def file(self) -> str:
        return f"{self.package}-{self.script}-{self.weight}-{self.slant}.woff2"


FONTS = (
    Font("Source Sans 3", "latin", 400),
    Font("Source Sans 3", "latin", 400, "italic"),
    Font("Source Sans 3", "latin", 600),
    Font("Source Sans 3", "greek", 400),
    Font("Source Code Pro", "latin", 400),
    Font("Source Code Pro", "latin", 600),
    Font("Source Code Pro", "greek", 400),
)


def files() -> list[tuple[str, str]]:
    """Return what `vendor` copies: file of a package -> our folder."""
    return [
        *(
            (f"@fontsource/{font.package}/files/{font.file}", "fonts")
            for font in FONTS
        ),
        ("@fontsource/source-sans-3/LICENSE", "fonts"),
    ]


def style() -> str:
    """Return the rules that name the fonts, from beside them."""
    return "".join(
        f'@font-face{{font-family:"{font.family}";font-style:{font.slant};'
        f"font-weight:{font.weight};font-display:swap;"
        f'src:url(fonts/{font.file}) format("woff2");'
        f"unicode-range:{GREEK if font.script == 'greek' else LATIN}}}\n"
        for font in FONTS
    )
