"""The frozen backbone: loading, fingerprint, and towers with named sites."""
