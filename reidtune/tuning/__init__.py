"""Trainable components and the tuner that holds them."""
