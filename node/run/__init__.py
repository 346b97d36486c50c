"""`merit run`: a whole network, its clients and its report in one command."""
