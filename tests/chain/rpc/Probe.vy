# pragma version 0.4.3
"""
@notice What tests ask of any client: state, an event, every kind of failure, and calls to another contract.
"""

interface Other:
    def change(value: uint256): nonpayable
    def refuse(): nonpayable


event Changed:
    who: indexed(address)
    value: uint256


value: public(uint256)


@deploy
def __init__(value: uint256):
    self.value = value


@external
def change(value: uint256):
    self.value = value
    log Changed(who=msg.sender, value=value)


@external
def forward(other: address, value: uint256):
    extcall Other(other).change(value)


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
