"""Datasets of trials: listing, staging, decoding, augmentation, batches on the device."""
