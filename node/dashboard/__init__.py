"""What a node shows to people: pages about its ledger, served on the loopback interface."""
