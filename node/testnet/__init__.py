"""A network of many processes on one machine: made, supervised, watched and broken on purpose."""
