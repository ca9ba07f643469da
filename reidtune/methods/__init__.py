"""Methods: one page each, assembled from components."""
