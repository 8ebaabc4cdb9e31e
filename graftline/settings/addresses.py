"""The addresses of base models: five forms, and what is said of a name that has none of them."""

import re

from graftline.wording import did_you_mean

FORMS = "package:NAME/FOLDER, path:FOLDER, hf:ORG/NAME@REVISION, s3://BUCKET/PREFIX or models:/NAME@ALIAS"
PATTERNS = {
    "package": r"(?P<name>[A-Za-z0-9][\w.-]*)/(?!(.*/)?\.\.(/|$))(?P<folder>.+)",
    "path": r"(?P<folder>.+)",
    "hf": r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)",
    "s3": r"//(?P<bucket>[\w.-]+)/(?P<prefix>[^/].*?)/?",
    "models": r"/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))",
}
# As people write a model of the Hugging Face hub: its page's address, or the short name that transformers takes.
HUB_NAME = re.compile(
    r"(https?://)?(huggingface\.co/|hf\.co/|hf://|hf:)?(?P<name>[A-Za-z0-9][\w.-]*(/[\w.-]+)?)(@(?P<revision>[\w./-]*))?/?"
)
# Under whom the hub keeps models that once had a short name alone.
PUBLISHERS = {
    "bert-": "google-bert", "roberta-": "FacebookAI", "xlm-roberta-": "FacebookAI", "distilbert-": "distilbert",
    "distilroberta-": "distilbert", "distilgpt2": "distilbert", "gpt2": "openai-community", "albert-": "albert",
    "t5-": "google-t5", "xlnet-": "xlnet",
}  # fmt: skip


def address_of(uri: str) -> tuple[str, dict[str, str]]:
    """The scheme and the named parts of a base model's address. Raises: ValueError with the whole address to write."""
    scheme, _, rest = uri.partition(":")
    form = re.fullmatch(PATTERNS[scheme], rest) if scheme in PATTERNS else None
    if form is None:
        raise ValueError(f"{uri!r} {_fault(uri, scheme)}")
    return scheme, form.groupdict()


def _fault(uri: str, scheme: str) -> str:
    named = HUB_NAME.fullmatch(uri)
    if named is not None:
        repository, revision = _on_the_hub(named["name"]), named["revision"] or "REVISION"
        fault = "is not of the form of its scheme" if scheme == "hf" else "is no whole address"
        return (
            f"{fault}; write hf:{repository}@{revision} for the model of the Hugging Face hub (REVISION: a commit,"
            f" or main), path:{named['name']} for a folder of the project, package:NAME/FOLDER for one in an installed"
            " package"
        )
    if scheme in PATTERNS:
        return f"is not of the form of its scheme; expected {FORMS}"
    return f"has an unknown scheme; expected {FORMS}{did_you_mean(scheme, PATTERNS)}"


def _on_the_hub(name: str) -> str:
    if "/" in name:
        return name
    return f"{next((publisher for start, publisher in PUBLISHERS.items() if name.startswith(start)), 'ORG')}/{name}"
