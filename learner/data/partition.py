"""Deal a data set out to clients: IID, label shards, Dirichlet, quantity skew, and labels that few have.

Every function returns one array of sample indices per client, int64, ascending; each sample is used exactly once and
no client is left empty, or `InvalidPartition` says why that cannot be. Equal arguments give equal partitions: the
chance is Python's own generator, whose streams do not change from one release to the next.
"""

import numpy as np

from learner.data.dataset import Indices, Labels
from learner.errors import InvalidPartition
from merit.chance import seeded

DIRICHLET_ATTEMPTS = 100


def iid(labels: Labels, *, clients: int, seed: int) -> list[Indices]:
    """Shuffle all samples and cut them into `clients` parts whose sizes differ by at most one."""
    _enough(len(labels), clients, "clients")
    return _cut(_shuffled(len(labels), seed, "iid"), clients)


def label_shards(labels: Labels, *, clients: int, shards: int, seed: int) -> list[Indices]:
    """Sort the samples by label, cut them into clients * `shards` pieces and give each client `shards` of them.

    The partition of McMahan et al. (arXiv 1602.05629): with two shards most clients see two labels only.
    """
    if shards < 1:
        raise InvalidPartition(reason=f"{shards} shards per client: choose at least 1")
    pieces = clients * shards
    _enough(len(labels), pieces, "shards")
    shuffled = _shuffled(len(labels), seed, "label-shards", "samples")
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    cut = _cut(by_label, pieces)
    dealt = _shuffled(pieces, seed, "label-shards", "pieces").reshape(clients, shards)
    return [np.sort(np.concatenate([cut[piece] for piece in own])) for own in dealt]


def dirichlet(labels: Labels, *, clients: int, alpha: float, seed: int) -> list[Indices]:
    """Give each client a share of every label drawn from a symmetric Dirichlet distribution (arXiv 1909.06335).

    Small `alpha` (> 0) means few labels per client, large means IID. A draw that leaves a client empty is drawn again,
    100 times at most.
    """
    if not alpha > 0:
        raise InvalidPartition(reason=f"alpha = {alpha}: choose more than 0")
    _enough(len(labels), clients, "clients")
    for attempt in range(DIRICHLET_ATTEMPTS):
        parts = _dirichlet_draw(labels, clients, alpha, seed, attempt)
        if all(len(part) for part in parts):
            return parts
    raise InvalidPartition(
        reason=f"with alpha = {alpha} some of {clients} clients stay empty: raise alpha or take fewer clients"
    )


def quantity_skew(labels: Labels, *, clients: int, beta: float, seed: int) -> list[Indices]:
    """Give each client samples of all labels, but more or fewer: sizes from a symmetric Dirichlet distribution.

    Li et al. (arXiv 2102.02079). Small `beta` (> 0) means very uneven sizes. Each client first gets one sample.
    """
    if not beta > 0:
        raise InvalidPartition(reason=f"beta = {beta}: choose more than 0")
    _enough(len(labels), clients, "clients")
    chance = seeded(seed, "quantity-skew", "sizes")
    shares = np.cumsum([chance.gammavariate(beta, 1.0) for _ in range(clients)])
    if shares[-1] == 0:  # a tiny beta can draw nothing but zeros; then the first client takes what is over
        shares[:] = 1.0
    edges = np.rint(shares[:-1] / shares[-1] * (len(labels) - clients)).astype(np.int64) + np.arange(1, clients)
    return [np.sort(part) for part in np.split(_shuffled(len(labels), seed, "quantity-skew"), edges)]


def concentrate(parts: list[Indices], labels: Labels, *, label: int, holders: list[int], seed: int) -> list[Indices]:
    """Deal all samples of `label` out anew, among `holders` alone: nobody else has any.

    A client who had nothing else gets half of the other samples of the holder who has most of them. Raises
    `InvalidPartition` if no holder can give any, or there are fewer samples of the label than holders.
    """
    rare = np.flatnonzero(labels == label)
    _enough(len(rare), len(holders), f"holders of label {label}")
    dealt = dict(zip(holders, _cut(rare[_shuffled(len(rare), seed, "concentrate")], len(holders)), strict=True))
    others = [part[labels[part] != label] for part in parts]
    for client, own in enumerate(others):
        if len(own) or client in dealt:
            continue
        giver = max(holders, key=lambda holder: len(others[holder]))
        if (given := len(others[giver]) // 2) == 0:
            raise InvalidPartition(reason=f"client {client} has only label {label}: make another label rare")
        others[client], others[giver] = others[giver][:given], others[giver][given:]
    return [np.sort(np.concatenate([own, dealt.get(client, rare[:0])])) for client, own in enumerate(others)]


def _dirichlet_draw(labels: Labels, clients: int, alpha: float, seed: int, attempt: int) -> list[Indices]:
    chance = seeded(seed, "dirichlet", attempt)
    own: list[list[Indices]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        samples = np.flatnonzero(labels == label).tolist()
        chance.shuffle(samples)
        shares = np.cumsum([chance.gammavariate(alpha, 1.0) for _ in range(clients)])
        if shares[-1] == 0:  # a tiny alpha can draw nothing but zeros; then the first client takes the label
            shares[:] = 1.0
        edges = np.rint(shares[:-1] / shares[-1] * len(samples)).astype(np.int64)
        for mine, piece in zip(own, np.split(np.array(samples, dtype=np.int64), edges), strict=True):
            mine.append(piece)
    return [np.sort(np.concatenate(mine)) for mine in own]


def _shuffled(count: int, seed: int, *labels: str) -> Indices:
    order = list(range(count))
    seeded(seed, *labels).shuffle(order)
    return np.array(order, dtype=np.int64)


def _cut(indices: Indices, parts: int) -> list[Indices]:
    return [np.sort(part) for part in np.array_split(indices, parts)]


def _enough(samples: int, parts: int, noun: str) -> None:
    if not 1 <= parts <= samples:
        raise InvalidPartition(reason=f"{samples} samples cannot fill {parts} {noun}: choose 1 to {samples}")
