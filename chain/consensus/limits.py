"""Every bound of the core, each with its reason; what lies beyond is refused as a value and never stored."""

from typing import Final

VALUE_ID_BYTES: Final = 128  # CometBFT's block id needs 68: two hashes and a count
POWER_TOTAL: Final = (2**63 - 1) // 8  # CometBFT's bound on the sum of the powers (types/validator_set.go)
ROUNDS_AHEAD: Final = 8  # votes of so many rounds ahead are kept; of later ones only who is there (L55)
ROUNDS_KEPT: Final = 32  # rounds behind whose votes are kept; rounds grow longer, so they span all delays that matter
ROUNDS_MOST: Final = ROUNDS_KEPT + 1 + ROUNDS_AHEAD + 1  # those, this one, and the one of the valid value
STATEMENTS_KEPT: Final = 2  # of one validator in one slot: two are evidence, a third proves nothing more
