"""Recordings of instruments with their names: sounds for a frozen text or image model to learn.

The sampled notes of two sound fonts, fetched by the ordinary apt client into the cache folder and
never committed: FluidR3 GM (Debian package fluid-soundfont-gm, Frank Wen, MIT) and TimGM6mb
(package timgm6mb-soundfont, Tim Brechbill, GPL-2).  Notes are read as they were recorded, without
a synthesiser; those that several instruments share are left out.  Names and families are those of
General MIDI level 1.
"""

from __future__ import annotations

import math
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.apt import apt_client
from benchmarks.study.upgrade import unit
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file

__all__ = [
    "FAMILIES",
    "LIBRARIES",
    "NAMES",
    "Notes",
    "notes",
    "pictures",
    "sound_features",
    "spectrograms",
]

RATE = 16_000
LIBRARIES = {
    "FluidR3": ("fluid-soundfont-gm", "FluidR3_GM.sf2"),
    "TimGM6mb": ("timgm6mb-soundfont", "TimGM6mb.sf2"),
}
FAMILIES = (
    "piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass",
    "reed", "pipe", "synth lead", "synth pad", "synth effects", "ethnic", "percussive",
    "sound effects",
)  # fmt: skip
NAMES = (
    "acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano",
    "electric piano", "electric piano with chorus", "harpsichord", "clavinet",
    "celesta", "glockenspiel", "music box", "vibraphone",
    "marimba", "xylophone", "tubular bells", "dulcimer",
    "drawbar organ", "percussive organ", "rock organ", "church organ",
    "reed organ", "accordion", "harmonica", "tango accordion",
    "acoustic guitar with nylon strings", "acoustic guitar with steel strings",
    "electric jazz guitar", "clean electric guitar",
    "muted electric guitar", "overdriven guitar", "distortion guitar", "guitar harmonics",
    "acoustic bass", "fingered electric bass", "picked electric bass", "fretless bass",
    "slap bass", "second slap bass", "synth bass", "second synth bass",
    "violin", "viola", "cello", "contrabass",
    "tremolo strings", "pizzicato strings", "orchestral harp", "timpani",
    "string ensemble", "slow string ensemble", "synth strings", "second synth strings",
    "choir singing aah", "voice singing ooh", "synth voice", "orchestra hit",
    "trumpet", "trombone", "tuba", "muted trumpet",
    "french horn", "brass section", "synth brass", "second synth brass",
    "soprano saxophone", "alto saxophone", "tenor saxophone", "baritone saxophone",
    "oboe", "english horn", "bassoon", "clarinet",
    "piccolo", "flute", "recorder", "pan flute",
    "blown bottle", "shakuhachi", "whistle", "ocarina",
    "square wave lead", "sawtooth lead", "calliope lead", "chiff lead",
    "charang lead", "voice lead", "fifths lead", "bass and lead",
    "new age pad", "warm pad", "polysynth pad", "choir pad",
    "bowed pad", "metallic pad", "halo pad", "sweep pad",
    "rain effect", "soundtrack effect", "crystal effect", "atmosphere effect",
    "brightness effect", "goblins effect", "echoes effect", "science fiction effect",
    "sitar", "banjo", "shamisen", "koto",
    "kalimba", "bagpipe", "fiddle", "shanai",
    "tinkle bell", "agogo", "steel drums", "woodblock",
    "taiko drum", "melodic tom", "synth drum", "reverse cymbal",
    "guitar fret noise", "breath noise", "seashore", "bird tweet",
    "telephone ring", "helicopter", "applause", "gunshot",
)  # fmt: skip
_SHORTEST_LOOP = 32
_BANDS, _WINDOW, _HOP = 64, 1024, 256
_MONO, _LEFT = 1, 4
_INSTRUMENT, _SAMPLE = 41, 53  # generators that name an instrument and a sample


@dataclass(frozen=True, eq=False)
class Notes:
    """Recorded notes of one library.

    Attributes:
        waves: one second each at 16 kHz, ``(n, 16000)`` float32 with peaks at 1; a shorter note is
            held by its own loop, or is followed by silence.
        program: the instrument of each, a place in `NAMES`, ``(n,)``.
        name: what the library calls the note.
    """

    waves: Array
    program: Array
    name: Array


def notes(library: str) -> Notes:
    """The notes of one of `LIBRARIES`; kept in the cache folder."""
    file = cache_folder() / "study" / f"notes-{library}.npz"
    if not file.exists():
        waves, programs, names = zip(*_recorded(_font(*LIBRARIES[library])), strict=True)
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez(out, waves=np.stack(waves), program=np.array(programs), name=np.array(names))
    stored = np.load(file)
    return Notes(stored["waves"], stored["program"], stored["name"])


def spectrograms(waves: Array, *, bands: int = _BANDS) -> Array:
    """Logarithm of the power in mel bands: ``(n, bands, frames)`` float32, about 0 to 1."""
    window = np.hanning(_WINDOW).astype(np.float32)
    weights = _mel_weights(bands)
    out: list[Array] = []
    for wave in waves:
        frames = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
        decibels = 10 * np.log10(power @ weights + 1e-6)
        out.append(np.clip((decibels.T + 40) / 80, 0, 1.2))
    return np.stack(out).astype(np.float32)


def pictures(waves: Array, size: int = 96) -> Any:
    """Spectrograms as an image network takes photographs: a tensor ``(n, 3, size, size)``."""
    import torch
    from torch.nn import functional

    mel = torch.from_numpy(spectrograms(waves))[:, None]
    large = functional.interpolate(mel, (size, size), mode="bilinear", antialias=True)
    return ((large * 255 - 127) / 128).expand(-1, 3, -1, -1).contiguous()


def sound_features(library: str) -> Array:
    """Rows of two encoders side by side, kept in the cache folder: ``(n, 1280 + 320)``.

    What EfficientNet-Lite0, trained on photographs, makes of the spectrogram; and, at half the
    length, its statistics: mean, spread and peak over the note, its first eighth, its mean change.
    """
    file = cache_folder() / "study" / f"notes-features-{library}.npy"
    if not file.exists():
        import torch

        from benchmarks.study.networks import efficientnet_lite0

        waves, network = notes(library).waves, efficientnet_lite0()
        with torch.inference_mode():
            seen = [network(part).numpy() for part in pictures(waves).split(64)]
        rows = np.hstack([unit(np.concatenate(seen)), unit(_statistics(spectrograms(waves))) / 2])
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.save(out, rows.astype(np.float32))
    return np.load(file)


def _statistics(mel: Array) -> Array:
    attack = mel[:, :, : mel.shape[2] // 8].mean(axis=2)
    moved = np.abs(np.diff(mel, axis=2)).mean(axis=2)
    parts = [mel.mean(axis=2), mel.std(axis=2), mel.max(axis=2), attack, moved]
    # each about the mean of its own bands: loudness says little of the instrument
    return np.hstack([part - part.mean(axis=1, keepdims=True) for part in parts])


def _mel_weights(bands: int) -> Array:
    """Triangles on the mel scale between 30 Hz and 8 kHz: ``(bins, bands)``."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(mel(30), mel(RATE / 2), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    # a band narrower than a bin takes the bin nearest to it
    empty = triangles.sum(axis=0) == 0
    nearest = np.abs(bins[:, None] - edges[1:-1]).argmin(axis=0)
    triangles[nearest[empty], np.flatnonzero(empty)] = 1.0
    return triangles.astype(np.float32)


# ---- sound fonts --------------------------------------------------------------------------------


def _font(package: str, name: str) -> bytes:
    file = cache_folder() / "study" / "sf2" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with apt_client("sound fonts", f"copy {file} from a machine that has it") as apt:
            found = apt.unpacked(package) / "usr/share/sounds/sf2" / name
            with atomic_file(file, overwrite=True) as temporary:
                shutil.move(found, temporary)
    return file.read_bytes()


def _chunks(content: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    while start < end:
        size = struct.unpack_from("<I", content, start + 4)[0]
        yield content[start : start + 4].decode(), start + 8, size
        start += 8 + size + (size & 1)


_TABLES: dict[str, Any] = {
    "phdr": [("name", "S20"), ("preset", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "S12")],
    "pbag": [("generator", "<u2"), ("modulator", "<u2")],
    "pgen": [("kind", "<u2"), ("amount", "<u2")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "ibag": [("generator", "<u2"), ("modulator", "<u2")],
    "igen": [("kind", "<u2"), ("amount", "<u2")],
    "shdr": [
        ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop", "<u4"), ("loop_end", "<u4"),
        ("rate", "<u4"), ("pitch", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2"),
    ],
    "smpl": "<i2",
}  # fmt: skip


def _recorded(content: bytes) -> Iterator[tuple[Array, int, str]]:
    """Wave, program and name of every note that one instrument of the main bank has to itself."""
    table: dict[str, Any] = {}
    for kind, start, size in _chunks(content, 12, len(content)):
        if kind == "LIST":
            for part, at, length in _chunks(content, start + 4, start + size):
                if part in _TABLES:
                    raw = content[at : at + length]
                    table[part] = np.frombuffer(raw, np.dtype(_TABLES[part]))

    def named(rows: Any, place: int, bags: Any, generators: Any, kind: int) -> set[int]:
        """What the zones of one preset or instrument name."""
        zones = range(rows[place]["bag"], rows[place + 1]["bag"])
        return {
            int(g["amount"])
            for zone in zones
            for g in generators[bags[zone]["generator"] : bags[zone + 1]["generator"]]
            if g["kind"] == kind
        }

    users: dict[int, set[int]] = {}
    for place, preset in enumerate(table["phdr"][:-1]):
        if preset["bank"]:
            continue
        instruments = named(table["phdr"], place, table["pbag"], table["pgen"], _INSTRUMENT)
        for instrument in instruments:
            found = named(table["inst"], instrument, table["ibag"], table["igen"], _SAMPLE)
            for sample in found:
                users.setdefault(sample, set()).add(int(preset["preset"]))
    for sample in sorted(users):
        header = table["shdr"][sample]
        # of a stereo pair, one side
        if len(users[sample]) > 1 or header["type"] not in (_MONO, _LEFT):
            continue
        wave = _one_second(table["smpl"], header)
        if wave is not None:
            yield wave, next(iter(users[sample])), header["name"].split(b"\0")[0].decode("latin-1")


def _one_second(samples: Array, header: Any) -> Array | None:
    from scipy.signal import resample_poly

    rate, start, end = int(header["rate"]), int(header["start"]), int(header["end"])
    wave = samples[start : min(end, start + rate)].astype(np.float32)
    loop = int(header["loop"]) - start, int(header["loop_end"]) - start
    if len(wave) < rate and loop[0] >= 0 and loop[1] - loop[0] >= _SHORTEST_LOOP:
        turn = samples[start + loop[0] : start + loop[1]].astype(np.float32)
        wave = np.concatenate([wave[: loop[1]], np.tile(turn, rate // len(turn) + 1)])[:rate]
    if len(wave) < 8 or not wave.any():
        return None
    common = math.gcd(rate, RATE)
    wave = resample_poly(wave, RATE // common, rate // common)[:RATE]
    wave = np.pad(wave, (0, RATE - len(wave)))
    return (wave / np.abs(wave).max()).astype(np.float32)
