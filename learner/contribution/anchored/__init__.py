"""The rule `anchored`: an update is worth what private samples of the edge servers say, and nobody has said before.

Authenticity, label honesty, novelty and reputation are modules of their own; `rule` puts them together.
"""

from learner.contribution.anchored.rule import NEEDS, anchored
from learner.contribution.anchored.thresholds import Thresholds

__all__ = ["NEEDS", "Thresholds", "anchored"]
