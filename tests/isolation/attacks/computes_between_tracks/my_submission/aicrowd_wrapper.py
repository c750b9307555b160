"""The organisers' wrapper, which tells the model when a track begins and when it is done."""

import os

import soundfile

from my_submission.user_config import MySeparationModel


class AIcrowdWrapper:
    def __init__(self, dataset_dir, predictions_dir):  # type: ignore[no-untyped-def]
        self.model, self.mixtures, self.predictions = MySeparationModel(), dataset_dir, predictions_dir

    def separate_music_file(self, name):  # type: ignore[no-untyped-def]
        self.model.begin()
        mixture, rate = soundfile.read(f"{self.mixtures}/{name}/mixture.wav")
        self.model.way = ""
        arrays, _ = self.model.separate_music_file(mixture, rate)
        os.makedirs(f"{self.predictions}/{name}")
        for stem, array in arrays.items():
            soundfile.write(f"{self.predictions}/{name}/{stem}.wav", array, rate)
        if self.model.way:
            self.model.attack_between_tracks()
        self.model.end()
