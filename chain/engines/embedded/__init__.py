"""N validators in one process, with CometBFT's formats; what it is and what it is not: chain/engines/README.md."""

from chain.engines.embedded.engine import EmbeddedEngine
from chain.engines.embedded.member import Member
from chain.engines.embedded.replica import Validator
from chain.engines.embedded.roster import Roster
from chain.engines.embedded.scattered import ScatteredEngine
from chain.engines.embedded.store import EngineStore

__all__ = ["EmbeddedEngine", "EngineStore", "Member", "Roster", "ScatteredEngine", "Validator"]
