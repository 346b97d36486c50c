"""The learning room: exact numerics, scoring, data and training; knows nothing of chains."""
