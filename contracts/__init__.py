"""The contracts room: Vyper contracts, their artifacts, and the record and blob codec."""
