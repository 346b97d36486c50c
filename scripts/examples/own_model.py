"""A model and data of your own: train a small torch network on handwritten digits for a job, and be paid.

    python scripts/examples/own_model.py --server URL --key FILE --password-file FILE --dir DIR [--trust FILE] [--job N]

The job is scripts/examples/own_model.toml, whose [model] names `own_model:network`.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

from node import sdk


def network(features: int, classes: int) -> nn.Module:
    """Build 64-24-10 with tanh: 64 * 24 + 24 + 24 * 10 + 10 = 1,810 parameters."""
    return nn.Sequential(nn.Linear(features, 24), nn.Tanh(), nn.Linear(24, classes))


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Every n-th of 1,797 digits of 8x8 pixels: what this client alone has."""

    def __init__(self, part: int, parts: int) -> None:
        """Take the `part`-th of so many, from 0."""
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images[part::parts], dtype=torch.float32) / 16
        self.labels = torch.tensor(labels[part::parts])

    def __len__(self) -> int:
        """Count the digits."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one digit and what it shows."""
        return self.images[index], self.labels[index]


def main(arguments: list[str] | None = None) -> None:
    """Learn until the job closes."""
    parser = argparse.ArgumentParser(description="Train an own model on own data for a job.")
    parser.add_argument("--server", action="append", required=True, help="an edge server's intake; repeatable")
    parser.add_argument("--key", required=True)
    parser.add_argument("--password-file", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--trust", help="certificates of edge servers with https URLs")
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--part", type=int, default=0, help="which half of the digits is mine: 0 or 1")
    given = parser.parse_args(arguments)
    done = sdk.learn(
        network(64, 10),
        Digits(given.part, 2),
        job=given.job,
        servers=given.server,
        trust=given.trust,
        key=given.key,
        password_file=given.password_file,
        directory=given.dir,
        interval=0.2,
    )
    print(f"member {done.member} trained {done.trained} times")


if __name__ == "__main__":
    main()
