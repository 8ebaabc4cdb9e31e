"""Values of others inside a sentence of ours."""

# As much of the error of another library as fits into a sentence of ours.
ERROR_CHARACTERS = 200


def shortened(text: str, characters: int) -> str:
    """The text, or the beginning of a longer one and "…": in all no more than so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
