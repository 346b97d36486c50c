"""A federation in virtual time: clients of all speeds, attackers among them, and the ledger's own rules.

scenario     what a run depends on          population   who takes part, with which samples
timing       speeds and connections         clients      what they send, honest or not
ledger       records, rounds, pay           run          the virtual clock: `simulate`
summary      what a run came to             grid         many runs, resumable, in processes
"""
