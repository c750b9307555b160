"""Audio as signals: validation, chunks, augmentations, resampling, long signals. No model is known here."""
