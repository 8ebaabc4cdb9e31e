"""Whether a folder's tokenizer fits its model, before its weights are loaded."""

from pathlib import Path

CONFIG = "config.json"
# What reads pictures or sounds; a tokenizer beside it belongs to a part that is not used.
OTHER_READERS = ("preprocessor_config.json", "processor_config.json")


def check_vocabulary(folder: Path, where: str) -> None:
    """Check a text model's tokenizer against the embedding that its configuration describes.

    Whatever else is wrong, the load says: it compares with the embedding itself, too.
    Raises: BaseModelRefusedError naming both sizes if the tokenizer is the larger one.
    """
    if not (folder / CONFIG).is_file() or any((folder / name).exists() for name in OTHER_READERS):
        return
    # Imported where there is something to ask: they take seconds.
    from graftline.models.text_models import described_vocabulary, require_known_tokens

    described = described_vocabulary(folder)
    if described is not None:
        require_known_tokens(*described, where)
