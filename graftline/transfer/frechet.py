"""How far two samples lie apart as two normal distributions: their means and their spreads."""

import numpy as np

from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import Membership, Statistic
from graftline.transfer.two_samples import Vectors

# Along so many directions, the widest of all rows together. A choice costs the cube of their number, and what lies
# beyond adds little to a distance in which a direction counts by its width.
DIRECTIONS = 64


def frechet_distance(vectors: Vectors) -> Statistic:
    """The squared distance |m - m'|² + tr(C + C' - 2 (C C')^½) of the chosen rows from the others.

    Dowson and Landau 1982, doi 10.1016/0047-259X(82)90077-X; as a distance of features Heusel et al. 2017, arXiv
    1706.08500. The covariances are shrunk as Ledoit and Wolf 2004 do: with few rows for many features others are
    singular.
    """
    along = _along_widest(vectors)
    products = np.einsum("rd,re->rde", along, along).reshape(len(along), -1)

    def statistic(members: Membership) -> Floats:
        chosen = members.T.astype(np.float64)
        first, second = (_moments(along, products, each) for each in (chosen, 1 - chosen))
        apart, (one, other) = first[0] - second[0], (first[1], second[1])
        # The roots of C C' are those of the symmetric C^½ C' C^½.
        spread, axes = np.linalg.eigh(one)
        root = (axes * np.sqrt(np.maximum(spread, 0))[:, None]) @ axes.swapaxes(1, 2)
        common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum(1)
        return np.asarray((apart**2).sum(1) + np.trace(one + other, axis1=1, axis2=2) - 2 * common)

    return statistic


def _along_widest(vectors: Vectors) -> Floats:
    """The rows along their widest directions: (rows, directions)."""
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    return np.asarray(centred @ axes[:, ::-1][:, :DIRECTIONS])


def _moments(rows: Floats, products: Floats, chosen: Floats) -> tuple[Floats, Floats]:
    """The mean (choices, width) and the shrunk covariance (choices, width, width) of each choice (choices, rows).

    `products` are each row's, of all pairs of its numbers: (rows, width * width).
    """
    width, counts = rows.shape[1], chosen.sum(1)
    means = chosen @ rows / counts[:, None]
    spreads = (chosen @ products / counts[:, None]).reshape(-1, width, width)
    covariances = spreads - means[:, :, None] * means[:, None]
    sizes = (rows**2).sum(1) - 2 * means @ rows.T + (means**2).sum(1)[:, None]  # of each row, from the choice's mean
    squares, trace = (covariances**2).sum((1, 2)), np.trace(covariances, axis1=1, axis2=2)
    noise = ((chosen * sizes**2).sum(1) / counts - squares) / counts
    spherical = squares - trace**2 / width
    share = np.clip(np.divide(noise, spherical, out=np.zeros_like(noise), where=spherical > 0), 0, 1)
    shrunk = (1 - share)[:, None, None] * covariances + (share * trace / width)[:, None, None] * np.eye(width)
    return means, shrunk
