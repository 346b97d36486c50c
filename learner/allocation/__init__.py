"""Task allocation (arXiv 1905.01656): who trains on how much and how often, so that the staleness is least."""
