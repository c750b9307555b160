"""Sound effects made by code: each generator returns mono (samples,) float32 at an arbitrary level.

Textures last as long as asked; events are at most as long as asked and die away by themselves.
"""

from collections.abc import Callable

import numpy as np
from scipy import signal
from scipy.ndimage import gaussian_filter1d

from .dsp import RATE, Audio, Floats, band_pass, high_pass, low_pass
from .ingredients import Rng, decay, noise, placed, repeated, ringing, swept, wandering

Generator = Callable[[Rng, int], Floats]


def rain(rng: Rng, samples: int) -> Floats:
    bed = noise(rng, samples, band_pass(rng.uniform(400, 1500), rng.uniform(6000, 14000)))
    drops = (rng.random(samples) < rng.uniform(50, 600) / RATE) * rng.exponential(1.0, samples)
    patter = signal.sosfilt(band_pass(rng.uniform(1500, 3000), rng.uniform(5000, 9000)), drops)
    return np.asarray(bed * wandering(rng, samples, 0.5, 0.7, 1.0) + patter * rng.uniform(4, 20))


def wind(rng: Rng, samples: int) -> Floats:
    out = np.zeros(samples)
    for _ in range(3):
        centre = rng.uniform(150, 1400)
        out += noise(rng, samples, band_pass(centre * 0.8, centre * 1.25)) * wandering(
            rng, samples, 0.8, 0.0, 1.0
        )
    return out + 0.8 * noise(rng, samples, low_pass(250)) * wandering(rng, samples, 0.5, 0.2, 1.0)


def waves(rng: Rng, samples: int) -> Floats:
    period = rng.uniform(3.5, 7.0)
    phase = np.arange(samples) / RATE / period + rng.uniform(0, 1) + wandering(rng, samples, 0.2, -0.1, 0.1)
    swell = np.clip(np.sin(2 * np.pi * phase), 0, 1) ** 2 + 0.15
    return noise(rng, samples, band_pass(200, rng.uniform(3000, 8000))) * swell


def fire(rng: Rng, samples: int) -> Floats:
    crackles = (rng.random(samples) < rng.uniform(8, 40) / RATE) * rng.exponential(1.0, samples)
    snap = noise(rng, int(0.02 * RATE), band_pass(1500, 9000)) * decay(int(0.02 * RATE), 0.02)
    roar = noise(rng, samples, low_pass(350)) * wandering(rng, samples, 4, 0.4, 1.0)
    return np.asarray(signal.oaconvolve(crackles, snap)[:samples] * rng.uniform(1, 4) + roar)


def stream(rng: Rng, samples: int) -> Floats:
    def bubble() -> Floats:
        n = int(rng.uniform(0.01, 0.06) * RATE)
        start = rng.uniform(400, 2200)
        return (
            swept(np.linspace(start, start * rng.uniform(1.1, 1.8), n)) * np.hanning(n) * rng.exponential(1.0)
        )

    return repeated(rng, samples, 0.02, 0.5, bubble) + 0.25 * noise(rng, samples, band_pass(600, 6000))


def crowd(rng: Rng, samples: int) -> Floats:
    """A murmuring crowd: many voice-like resonances opening and closing at syllable speed."""
    out = np.zeros(samples)
    for _ in range(10):
        pitch = rng.uniform(90, 230) * wandering(rng, samples, 3, 0.85, 1.2)
        buzz = signal.sawtooth(2 * np.pi * np.cumsum(pitch) / RATE) + 0.3 * noise(rng, samples)
        low, high = rng.uniform(300, 800), rng.uniform(900, 2400)
        shaped = signal.sosfilt(band_pass(low * 0.8, low * 1.3), buzz)
        shaped = shaped + 0.6 * signal.sosfilt(band_pass(high * 0.8, high * 1.3), buzz)
        out += shaped * np.clip(wandering(rng, samples, rng.uniform(5, 9), -0.6, 1.0), 0, 1)
    return np.asarray(signal.sosfilt(low_pass(3500), out))


def machinery(rng: Rng, samples: int) -> Floats:
    base = rng.uniform(30, 120)
    time = np.arange(samples) / RATE
    hum = sum(
        np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.28)) / k ** rng.uniform(0.5, 1.5)
        for k in range(1, 14)
    )
    beat = 1 + 0.6 * signal.square(2 * np.pi * rng.uniform(1, 8) * time, 0.4)
    return np.asarray(
        hum + noise(rng, samples, band_pass(300, rng.uniform(1500, 6000))) * beat * rng.uniform(0.2, 1.0)
    )


def crickets(rng: Rng, samples: int) -> Floats:
    time = np.arange(samples) / RATE
    out = 0.02 * noise(rng, samples)
    for _ in range(int(rng.integers(2, 5))):
        chirp = np.clip(np.sin(2 * np.pi * rng.uniform(18, 40) * time), 0, 1)
        group = np.sin(2 * np.pi * rng.uniform(0.6, 2.5) * time + rng.uniform(0, 6)) > rng.uniform(-0.2, 0.6)
        out += (
            rng.uniform(0.3, 1)
            * np.sin(2 * np.pi * rng.uniform(3500, 5600) * time)
            * chirp
            * gaussian_filter1d(group * 1.0, 200)
        )
    return out


def traffic(rng: Rng, samples: int) -> Floats:
    out = 0.4 * noise(rng, samples, low_pass(400))
    for _ in range(max(1, int(samples / RATE / 4))):
        centre, width = rng.uniform(0, samples), rng.uniform(0.6, 1.8) * RATE
        bump = np.exp(-0.5 * ((np.arange(samples) - centre) / width) ** 2)
        out += bump * noise(rng, samples, band_pass(120, rng.uniform(1200, 3500)))
    return out


def helicopter(rng: Rng, samples: int) -> Floats:
    time = np.arange(samples) / RATE
    rate = rng.uniform(9, 15)
    pulse = np.exp(-8 * ((time * rate) % 1.0))
    body = noise(rng, samples, band_pass(60, 900)) * pulse
    whine = np.sin(2 * np.pi * rng.uniform(250, 600) * time) * 0.05
    return (body + whine) * wandering(rng, samples, 0.4, 0.5, 1.0)


def footsteps(rng: Rng, samples: int) -> Floats:
    hard, body = rng.uniform(0.2, 1.0), rng.uniform(80, 260)

    def step() -> Floats:
        n = int(0.22 * RATE)
        thump = np.sin(2 * np.pi * body * np.arange(n) / RATE) * decay(n, 0.12)
        scrape = noise(rng, n, band_pass(700, 6000)) * decay(n, rng.uniform(0.05, 0.2), 0.004)
        return (thump + hard * scrape) * rng.uniform(0.6, 1.0)

    return repeated(rng, samples, rng.uniform(0.32, 0.7), 0.08, step)


def knocks(rng: Rng, samples: int) -> Floats:
    modes = rng.uniform(120, 260) * np.array([1.0, 1.9, 2.7, 4.1])
    count = int(rng.integers(2, 6))
    gap = rng.uniform(0.16, 0.3)
    starts = np.cumsum(np.full(count, gap)) * RATE + rng.normal(0, 300, count)
    n = int(0.25 * RATE)
    sounds = [
        ringing(rng, n, modes, 0.12) + 0.4 * noise(rng, n, high_pass(1500)) * decay(n, 0.02) for _ in starts
    ]
    return placed(samples, np.maximum(0, starts - gap * RATE), sounds)


def car_pass(rng: Rng, samples: int) -> Floats:
    time = np.arange(samples) / RATE
    middle = samples / RATE * rng.uniform(0.35, 0.6)
    near = 1.0 / (1.0 + ((time - middle) / rng.uniform(0.4, 1.0)) ** 2)
    doppler = 1.0 - 0.08 * np.tanh((time - middle) * 2)
    engine = signal.sawtooth(2 * np.pi * np.cumsum(rng.uniform(50, 140) * doppler) / RATE)
    engine = signal.sosfilt(low_pass(900), engine)
    return np.asarray(near * (engine + 0.7 * noise(rng, samples, band_pass(200, 3000))))


def siren(rng: Rng, samples: int) -> Floats:
    time = np.arange(samples) / RATE
    low, high = rng.uniform(420, 700), rng.uniform(900, 1500)
    rate = rng.uniform(0.25, 3.0)
    shape = signal.square(2 * np.pi * rate * time) if rng.random() < 0.4 else np.sin(2 * np.pi * rate * time)
    tone = swept(low + (high - low) * (shape + 1) / 2)
    return np.tanh(2 * tone) * np.minimum(1, np.minimum(time, time[::-1]) / 0.4)


def birds(rng: Rng, samples: int) -> Floats:
    base = rng.uniform(2200, 5200)

    def song() -> Floats:
        n = int(rng.uniform(0.05, 0.2) * RATE)
        sweep = base * (
            1
            + rng.uniform(-0.3, 0.3) * np.linspace(0, 1, n)
            + 0.06 * np.sin(np.linspace(0, rng.uniform(3, 60), n))
        )
        return swept(sweep) * np.hanning(n) * (0 if rng.random() < 0.35 else rng.uniform(0.4, 1))

    return repeated(rng, samples, rng.uniform(0.12, 0.4), 0.3, song)


def explosion(rng: Rng, samples: int) -> Floats:
    boom = (
        noise(rng, samples, low_pass(rng.uniform(80, 220))) * decay(samples, rng.uniform(1.5, 3.5), 0.004) * 4
    )
    burst = noise(rng, samples, low_pass(rng.uniform(1500, 5000))) * decay(samples, rng.uniform(0.4, 1.2))
    debris = (
        noise(rng, samples, band_pass(800, 6000))
        * decay(samples, 2.0, 0.2)
        * wandering(rng, samples, 20, 0, 1)
    )
    return np.tanh(boom + burst) + 0.3 * debris


def metal_hit(rng: Rng, samples: int) -> Floats:
    modes = rng.uniform(180, 900) * np.sort(np.concatenate([[1.0], rng.uniform(1.3, 12, 11)]))
    return ringing(rng, samples, modes, rng.uniform(0.5, 2.5)) + noise(rng, samples) * decay(samples, 0.03)


def wood_hit(rng: Rng, samples: int) -> Floats:
    modes = rng.uniform(90, 400) * np.array([1.0, 2.1, 3.3, 5.2])
    return ringing(rng, samples, modes, rng.uniform(0.1, 0.3)) + 0.6 * noise(
        rng, samples, low_pass(3000)
    ) * decay(samples, 0.08)


def glass(rng: Rng, samples: int) -> Floats:
    def shard() -> Floats:
        n = int(rng.uniform(0.08, 0.4) * RATE)
        return ringing(rng, n, np.sort(rng.uniform(2200, 13000, 5)), 0.25) * rng.exponential(0.5)

    starts = np.minimum(rng.exponential(0.15, 25), 1.2) * RATE
    crash = noise(rng, samples, high_pass(2500)) * decay(samples, 0.35)
    return placed(samples, starts, [shard() for _ in starts]) + crash


def whoosh(rng: Rng, samples: int) -> Floats:
    n = min(samples, int(rng.uniform(0.4, 1.4) * RATE))
    position = np.linspace(0, 1, n)
    peak = rng.uniform(0.4, 0.7)
    envelope = np.exp(-0.5 * ((position - peak) / 0.18) ** 2)
    low, high = noise(rng, n, band_pass(200, 900)), noise(rng, n, band_pass(1200, 6000))
    return np.asarray((low * (1 - envelope) + high * envelope) * envelope)


def beeps(rng: Rng, samples: int) -> Floats:
    hz, length = rng.uniform(600, 3200), rng.uniform(0.05, 0.25)
    pure = rng.random() < 0.5

    def beep() -> Floats:
        n = int(length * RATE)
        wave = np.sin(2 * np.pi * hz * np.arange(n) / RATE)
        return (wave if pure else np.sign(wave) * 0.6) * np.minimum(
            1, np.minimum(np.arange(n), np.arange(n)[::-1]) / 200
        )

    return repeated(rng, samples, length * rng.uniform(1.5, 4), 0.0, beep)


def typing(rng: Rng, samples: int) -> Floats:
    def key() -> Floats:
        n = int(0.06 * RATE)
        click = noise(rng, n, band_pass(1200, 8000)) * decay(n, rng.uniform(0.01, 0.03))
        return (click + ringing(rng, n, np.array([rng.uniform(250, 500), 1800.0]), 0.03)) * rng.uniform(
            0.3, 1.0
        )

    return repeated(rng, samples, rng.uniform(0.09, 0.2), 0.45, key)


def thunder(rng: Rng, samples: int) -> Floats:
    crack = (
        noise(rng, samples, band_pass(200, 4000)) * decay(samples, 0.5) * wandering(rng, samples, 30, 0, 1)
    )
    rumble = (
        noise(rng, samples, low_pass(130)) * decay(samples, 5.0, 0.3) * wandering(rng, samples, 4, 0.2, 1.0)
    )
    return crack + 6 * rumble


def creak(rng: Rng, samples: int) -> Floats:
    n = min(samples, int(rng.uniform(0.6, 1.8) * RATE))
    rate = wandering(rng, n, 4, 20, 140)
    pulses = (np.diff(np.floor(np.cumsum(rate) / RATE), prepend=0) > 0) * rng.uniform(0.4, 1, n)
    body = ringing(rng, int(0.05 * RATE), np.array([rng.uniform(300, 700), 1100.0, 2300.0, 3900.0]), 0.05)
    return np.asarray(signal.oaconvolve(pulses, body)[:n] * np.hanning(n))


def gunshots(rng: Rng, samples: int) -> Floats:
    def shot() -> Floats:
        n = int(0.6 * RATE)
        return np.tanh(3 * noise(rng, n) * decay(n, 0.15)) + 2 * noise(rng, n, low_pass(300)) * decay(n, 0.4)

    return repeated(rng, samples, rng.uniform(0.12, 0.9), 0.2, shot)


def barks(rng: Rng, samples: int) -> Floats:
    base = rng.uniform(180, 480)

    def bark() -> Floats:
        n = int(rng.uniform(0.12, 0.25) * RATE)
        sweep = base * (1 + 0.5 * np.sin(np.linspace(0, np.pi, n)))
        buzz = signal.sawtooth(2 * np.pi * np.cumsum(sweep) / RATE) + 0.5 * noise(rng, n)
        return np.asarray(signal.sosfilt(band_pass(500, 1800), buzz) * np.hanning(n))

    return repeated(rng, samples, rng.uniform(0.3, 0.8), 0.3, bark)


def ticking(rng: Rng, samples: int) -> Floats:
    modes = np.array([rng.uniform(1500, 2600), 4200.0, 6900.0])
    return repeated(
        rng,
        samples,
        float(rng.choice([0.25, 0.5, 1.0])),
        0.0,
        lambda: ringing(rng, int(0.05 * RATE), modes, 0.03),
    )


def bell(rng: Rng, samples: int) -> Floats:
    base = rng.uniform(250, 1200)
    modes = base * np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.0, 4.2, 5.4])
    return repeated(
        rng, samples, rng.uniform(1.0, 2.5), 0.05, lambda: ringing(rng, int(2.0 * RATE), modes, 2.5)
    )


def drill(rng: Rng, samples: int) -> Floats:
    speed = rng.uniform(90, 260) * wandering(rng, samples, 1.5, 0.3, 1.0)
    buzz = signal.sawtooth(2 * np.pi * np.cumsum(speed) / RATE)
    hiss = noise(rng, samples, band_pass(1500, 8000))
    return np.asarray(signal.sosfilt(high_pass(200), buzz) + 0.4 * hiss)


def horn(rng: Rng, samples: int) -> Floats:
    time = np.arange(samples) / RATE
    base = rng.uniform(220, 340)
    chord = sum(signal.sawtooth(2 * np.pi * base * ratio * time) for ratio in (1.0, 1.26, 1.5))
    return np.asarray(
        signal.sosfilt(low_pass(2500), chord) * np.minimum(1, np.minimum(time, time[::-1]) / 0.08)
    )


def heartbeat(rng: Rng, samples: int) -> Floats:
    def beat() -> Floats:
        n = int(0.4 * RATE)
        thud = np.sin(2 * np.pi * rng.uniform(45, 65) * np.arange(n) / RATE) * decay(n, 0.18, 0.01)
        return thud + 0.7 * np.roll(thud, int(0.22 * RATE)) * (np.arange(n) > 0.22 * RATE)

    return repeated(rng, samples, rng.uniform(0.6, 1.1), 0.02, beat)


def zap(rng: Rng, samples: int) -> Floats:
    n = min(samples, int(rng.uniform(0.2, 0.7) * RATE))
    sweep = np.geomspace(rng.uniform(2000, 7000), rng.uniform(80, 400), n)
    return np.sign(swept(sweep)) * decay(n, rng.uniform(0.3, 0.9)) + 0.3 * noise(rng, n) * decay(n, 0.1)


def clatter(rng: Rng, samples: int) -> Floats:
    def clink() -> Floats:
        n = int(0.2 * RATE)
        return ringing(rng, n, np.sort(rng.uniform(700, 7000, 6)), 0.15) * rng.exponential(0.6)

    starts = np.sort(rng.uniform(0, min(samples, 1.2 * RATE), int(rng.integers(4, 12))))
    return placed(samples, starts, [clink() for _ in starts])


# Held-out kinds are heard in the demo scenes and never in training.
HELD_OUT_TEXTURES: tuple[Generator, ...] = (stream,)
HELD_OUT_EVENTS: tuple[Generator, ...] = (horn, creak)
TEXTURES: tuple[Generator, ...] = (rain, wind, waves, fire, crowd, machinery, crickets, traffic, helicopter)
EVENTS: tuple[Generator, ...] = (
    footsteps, knocks, car_pass, siren, birds, explosion, metal_hit, wood_hit, glass, whoosh, beeps, typing,
    thunder, gunshots, barks, ticking, bell, drill, heartbeat, zap, clatter,
)  # fmt: skip


def rendered(rng: Rng, make: Generator, seconds: float) -> Audio:
    """A generator's sound at a peak of 1: (samples,) float32 of `seconds`, faded over 10 ms at both ends."""
    samples = round(seconds * RATE)
    made = make(rng, samples)[:samples]
    while not made.any():  # a bird that did not sing in so short a time
        made = make(rng, samples)[:samples]
    sound = np.zeros(samples)
    sound[: len(made)] = made
    edge = min(samples, RATE // 100)
    sound[:edge] *= np.linspace(0, 1, edge)
    sound[-edge:] *= np.linspace(1, 0, edge)
    return (sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)
