"""Errors of data, models and exact numerics.

    LearnerError
    +-- InvalidTerms     a job's terms leave the bounds of RULES.md
    +-- InvalidRound     a round's inputs contradict its terms or each other
    +-- InvalidReferences  an edge server's references, or a sketch, that are none
    +-- UnknownRule      a rule, discount or aggregation form that this version does not have
    |   +-- UnusableRule a scoring rule of a package that is not here, lacks it, or breaks what a rule keeps to
    +-- InvalidDataFile  an idx file that is not what its header says
    +-- MissingDataFile  a data set's file that is not there
    +-- UnusableData     arrays that are no data set
    +-- InvalidPartition a partition that cannot give every client a sample
    +-- InvalidInstance  a task allocation whose numbers are no instance
    +-- InvalidPlan      a plan that is not canonical, or terms that no plan can follow
    +-- InvalidScenario  a simulation whose parts contradict each other, or that stands still
    +-- InvalidModel     a model name, a factory or a parameter vector that does not fit
    +-- TrainingFailed   local training that cannot start
    +-- MissingExtra     a package of the extra `train` that is not installed
    +-- MissingPackage   a development package that is not installed

A peer's bad update is no error but a value: `learner.fixedpoint.Rejected`.
"""

from collections.abc import Sequence
from pathlib import Path

from merit.errors import MeritError


class LearnerError(MeritError):
    """Root of this room's branch."""


class InvalidTerms(LearnerError):  # noqa: N818 - reads as what is wrong; the root's name says that it is an error
    """A term of a job is outside its bounds."""

    def __init__(self, *, field: str, value: object, allowed: str) -> None:
        """Name the term, its value and what is allowed."""
        super().__init__(f"job term {field} = {value!r}: choose {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class InvalidRound(LearnerError):  # noqa: N818
    """The inputs of a round contradict its terms or each other."""

    def __init__(self, *, reason: str) -> None:
        """Say what contradicts what."""
        super().__init__(f"round inputs refused: {reason}")
        self.reason = reason


class InvalidReferences(LearnerError):  # noqa: N818
    """An edge server's references, or a sketch of them, are not what they must be."""

    def __init__(self, *, reason: str) -> None:
        """Say what does not fit."""
        super().__init__(f"references refused: {reason}")
        self.reason = reason


class UnknownRule(LearnerError):  # noqa: N818
    """No rule of that kind, name and version."""

    def __init__(self, *, kind: str, name: str, version: int, known: Sequence[str]) -> None:
        """Name what was asked for and what there is."""
        super().__init__(f"no {kind} {name!r} in rules version {version}: choose one of {', '.join(known) or 'none'}")
        self.kind = kind
        self.name = name
        self.version = version
        self.known = tuple(known)


class UnusableRule(UnknownRule):
    """A scoring rule of another package, which is not installed, lacks it, or does not do what a rule must."""

    def __init__(self, *, name: str, version: int, package: str, reason: str) -> None:
        """Say which package would have it, and what is wrong."""
        MeritError.__init__(self, f"scoring rule {name!r}: {reason}")
        self.kind, self.name, self.version, self.known = "scoring rule", name, version, ()
        self.package = package


class InvalidDataFile(LearnerError):  # noqa: N818
    """A data file is not what its header or its name says."""

    def __init__(self, *, path: Path, reason: str) -> None:
        """Name the file and what is wrong with it."""
        super().__init__(f"{path}: {reason}; fetch the file again")
        self.path = path
        self.reason = reason


class MissingDataFile(LearnerError):  # noqa: N818
    """A file of a data set is not there."""

    def __init__(self, *, directory: Path, name: str) -> None:
        """Name the directory and the file."""
        super().__init__(
            f"{directory}: neither {name} nor {name}.gz is there; put the file there or name its directory"
        )
        self.directory = directory
        self.name = name


class UnusableData(LearnerError):  # noqa: N818
    """Arrays that do not make a data set."""

    def __init__(self, *, reason: str) -> None:
        """Say what does not fit."""
        super().__init__(f"data refused: {reason}")
        self.reason = reason


class InvalidPartition(LearnerError):  # noqa: N818
    """The samples cannot be dealt out as asked."""

    def __init__(self, *, reason: str) -> None:
        """Say why, and what would work."""
        super().__init__(f"partition refused: {reason}")
        self.reason = reason


class InvalidInstance(LearnerError):  # noqa: N818
    """The numbers of a task allocation are no instance of it."""

    def __init__(self, *, reason: str) -> None:
        """Name the number, the learner and what is allowed."""
        super().__init__(f"allocation refused: {reason}")
        self.reason = reason


class InvalidPlan(LearnerError):  # noqa: N818
    """Bytes that are no canonical plan, or terms that no plan can follow."""

    def __init__(self, *, reason: str) -> None:
        """Say what is wrong and what is allowed."""
        super().__init__(f"plan refused: {reason}")
        self.reason = reason


class InvalidScenario(LearnerError):  # noqa: N818
    """The parts of a simulation contradict each other, or nobody can go on."""

    def __init__(self, *, reason: str) -> None:
        """Say what contradicts what."""
        super().__init__(f"simulation refused: {reason}")
        self.reason = reason


class InvalidModel(LearnerError):  # noqa: N818
    """A model name, a factory or a parameter vector does not fit."""

    def __init__(self, *, reason: str) -> None:
        """Say what does not fit."""
        super().__init__(f"model refused: {reason}")
        self.reason = reason


class TrainingFailed(LearnerError):  # noqa: N818
    """Local training cannot start."""

    def __init__(self, *, reason: str) -> None:
        """Say why."""
        super().__init__(f"training refused: {reason}")
        self.reason = reason


class MissingExtra(LearnerError):  # noqa: N818
    """A package of the extra `train` is not installed."""

    def __init__(self, *, package: str) -> None:
        """Name the package and the command that brings it."""
        super().__init__(f"{package} is not installed: pip install 'merit-ledger[train]'")
        self.package = package


class MissingPackage(LearnerError):  # noqa: N818
    """A package of the development group is not installed."""

    def __init__(self, *, package: str, needed_for: str) -> None:
        """Name the package, what wants it, and the command that brings it."""
        super().__init__(f"{needed_for} needs {package}: run scripts/setup --dev, or pip install {package}")
        self.package = package
