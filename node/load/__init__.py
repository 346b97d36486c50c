"""Load for a ledger: many clients' records, signed ahead, sent to the edge servers as real clients send theirs.

`job` proposes a job whose records stay valid for long; `process` is the process of the clients; `running` starts it
and reads what it found. Nothing follows the records: what is measured is how they become final.
"""
