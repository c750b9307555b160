"""Any recording as float32 samples: the one place that decodes what people bring.

libav (ffmpeg's libraries, which PyAV's wheels bring along) decodes everything, so that nothing has to be installed
beside the kit and there is one answer to every question:

- Length: what is decoded counts. What a header states is only compared with it, where it is more than an estimate.
- Clock: a film's sound keeps the film's clock (`timeline`).
- Ogg Vorbis: its ends, where libav misjudges them (`vorbis`).
- Headers: those of recorders that were cut off are read as what they must have meant (`headers`).
- Tags: libav's, in whichever code page they are (`legacy_text`).
- Several streams: one is chosen, and named (`streams`).
- More than two channels: their places are known where the file knows them (`fold`).

Data sets of WAV and FLAC, and uploads, are no business of this package: there, a file that is not what its header
says is an error. Of a data set in a lossy format every complaint made here is one, too (`evaluator.running.parts`).
"""

from sdx.decoding.counting import Counted, count_samples
from sdx.decoding.opening import Undecodable
from sdx.decoding.reading import Reading
from sdx.decoding.sound import Sound, probe

__all__ = ["Counted", "Reading", "Sound", "Undecodable", "count_samples", "probe"]
