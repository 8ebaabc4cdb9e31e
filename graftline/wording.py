"""Values of others inside a sentence of ours."""


def shortened(text: str, characters: int) -> str:
    """The text, or the beginning of a longer one and "…": in all no more than so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
