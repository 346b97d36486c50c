"""An edge server: takes updates in, keeps blobs, acknowledges, computes rounds, attests and settles."""
