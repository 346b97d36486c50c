# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize codesize
"""
@title Merit Token: what rewards are paid in
@license Apache-2.0
@notice A plain ERC-20 token with 18 decimals. The Registry's governor mints it; nothing else makes or destroys it. Contracts
        version 2: balances can be read many at once.
@dev It takes the place of version 1 at the same address and over the same storage. No `permit`: its signatures are classical. An unlimited allowance (2^256 - 1) is not used up by transfers.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed

interface Registry:
    def governor() -> address: view

# What wallets show.
name: public(constant(String[25])) = "Merit"
symbol: public(constant(String[5])) = "MERIT"
decimals: public(constant(uint8)) = 18

# How many balances one call reads.
MAX_OWNERS: constant(uint256) = 1024

# Where the governor is looked up, so that a change of governor holds for every contract at once.
REGISTRY: immutable(Registry)

# All tokens that were ever minted.
totalSupply: public(uint256)

# Account -> what it owns.
balanceOf: public(HashMap[address, uint256])

# Owner -> spender -> what the spender may still move.
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(registry: address):
    """
    @notice Start with no tokens.
    @param registry The Registry whose governor may mint.
    """
    REGISTRY = Registry(registry)


@external
def mint(to: address, amount: uint256):
    """
    @notice Make new tokens. Only the governor.
    @param to Who receives them; not zero.
    @param amount How many, in 10^-18 token.
    """
    assert msg.sender == staticcall REGISTRY.governor(), "Token: caller is not the governor"
    assert to != empty(address), "Token: receiver is zero"
    assert amount <= max_value(uint256) - self.totalSupply, "Token: supply overflows"
    self.totalSupply += amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Move the caller's tokens.
    @param to Who receives them; not zero.
    @param amount How many, in 10^-18 token.
    @return True; it reverts otherwise.
    """
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @notice Move tokens of somebody who approved the caller.
    @param owner Whose tokens.
    @param to Who receives them; not zero.
    @param amount How many, in 10^-18 token.
    @return True; it reverts otherwise.
    """
    allowed: uint256 = self.allowance[owner][msg.sender]
    assert amount <= allowed, "Token: allowance is too low"
    if allowed != max_value(uint256):
        self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Set what a spender may move of the caller's tokens.
    @param spender Who may move them.
    @param amount How many; replaces what was allowed before.
    @return True.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
@view
def balancesOf(owners: DynArray[address, MAX_OWNERS]) -> DynArray[uint256, MAX_OWNERS]:
    """
    @notice What many accounts own in one block, with one question.
    @param owners Up to 1,024 accounts.
    @return Their balances in 10^-18 token, in the same order.
    """
    balances: DynArray[uint256, MAX_OWNERS] = []
    for owner: address in owners:
        balances.append(self.balanceOf[owner])
    return balances


@internal
def _move(owner: address, to: address, amount: uint256):
    """
    @dev The one place in which tokens change hands.
    @param owner Whose tokens.
    @param to Who receives them; not zero.
    @param amount How many.
    """
    assert to != empty(address), "Token: receiver is zero"
    assert amount <= self.balanceOf[owner], "Token: balance is too low"
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=owner, receiver=to, value=amount)
