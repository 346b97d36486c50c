# pragma version 0.4.3
"""
@notice What tests ask of any client: state, an event, every kind of failure, and calls to another contract.
"""

interface Other:
    def change(amount: uint256): nonpayable
    def refuse(): nonpayable


event Changed:
    who: indexed(address)
    amount: uint256


kept: public(uint256)


@deploy
def __init__(amount: uint256):
    self.kept = amount


@external
def change(amount: uint256):
    self.kept = amount
    log Changed(who=msg.sender, amount=amount)


@external
def forward(other: address, amount: uint256):
    extcall Other(other).change(amount)


@external
def survive(other: address) -> bool:
    """
    @notice Call what fails and go on; false.
    """
    return raw_call(other, method_id("refuse()"), revert_on_failure=False)


@external
def refuse():
    raise "not today"


@external
def refuse_with_error():
    raw_revert(abi_encode(convert(7, uint256), method_id=method_id("Refused(uint256)")))


@external
def panic():
    raw_revert(abi_encode(convert(17, uint256), method_id=method_id("Panic(uint256)")))
