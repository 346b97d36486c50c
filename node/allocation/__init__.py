"""Task allocations as files and pictures; the solvers are in `learner.allocation`."""
