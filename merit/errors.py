"""The one error tree of Merit.

    MeritError
    +-- chain.errors.ChainError          the replicated ledger
    +-- contracts.errors.ContractsError  artifacts, records and blobs
    +-- learner.errors.LearnerError      data, models, exact numerics
    +-- node.errors.NodeError            edge servers, clients, audit, configuration

Every error that a user can cause derives from `MeritError`, and its message is one line that says what to do:
the command line prints that line and exits with code 2. Anything else is a bug and shows its traceback.
"""


class MeritError(Exception):
    """Root of the tree; never raised itself."""
