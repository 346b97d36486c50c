"""An edge server's private samples, and what they teach. Loads torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from learner.contribution import Needs
from learner.data import Dataset, arrays
from learner.errors import TrainingFailed
from learner.fixedpoint import Model, decode_model
from learner.models import build
from learner.references import References
from learner.roots import contrast_references, in_group, label_references, root_update
from learner.training import SGD, one_thread
from merit.chance import seed_of
from node.jobs import JobFile


@dataclass(frozen=True, slots=True)
class RootSamples:
    """One edge server's samples.

    A root update makes as many steps as a client's with the samples that the job asks for, so that it is about as long.
    """

    samples: Dataset
    seed: int

    @classmethod
    def load(cls, path: Path, member: int) -> Self:
        """Read an edge server's samples; `InvalidDataFile` if they are none."""
        return cls(arrays.load(path), seed_of(member, "edge server"))

    def __call__(self, file: JobFile, needs: Needs, version: int, model: Model) -> References:
        """Return what the rule needs of a version, rows of labels before the root update.

        Raises:
            learner.errors.TrainingFailed: there are no samples or others than the job's, or the model has diverged.

        """
        own, asked = (self.samples.features, self.samples.classes), (file.model.features, file.model.classes)
        if own != asked:
            reason = f"root samples have (features, classes) {own}, the job's model {asked}"
            raise TrainingFailed(reason=reason)
        with one_thread():
            return self._teach(file, needs, version, model)

    def _teach(self, file: JobFile, needs: Needs, version: int, model: Model) -> References:
        bits = file.numerics.fraction_bits
        start = decode_model(model, bits + file.numerics.shift)
        module = build(file.model.name, features=file.model.features, classes=file.model.classes)
        objective, found = file.objective, []
        if needs.labels:
            found.append(label_references(module, start, self.samples, objective=objective))
        elif needs.against_rest:
            slopes = needs.slopes
            found.append(contrast_references(module, start, self.samples, objective=objective, slopes=slopes))
        if needs.root or needs.newest_root:
            asked = file.training
            own = len(in_group(self.samples, objective)) or 1
            epochs = max(1, round(asked.epochs * asked.samples / own))
            sgd = SGD(epochs=epochs, batch_size=asked.batch, learning_rate=asked.learning_rate)
            seed = seed_of(self.seed, "root update", version)
            update = root_update(module, start, self.samples, sgd, fraction_bits=bits, seed=seed, objective=objective)
            found.append(update)
        return found[0] if len(found) == 1 else found[0].joined(found[1])
