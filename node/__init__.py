"""The node room: an edge server and its client; joins learner and chain."""
