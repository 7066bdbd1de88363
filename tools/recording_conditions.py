#!/usr/bin/env python3
"""Classify clips that the model was not trained on as they are, and as other recorders
would have recorded them: quieter, louder, in a narrower band, after a pause, offset.

    python tools/recording_conditions.py --data path/to/UrbanSound8K [--clips 150]

Writes results/conditions.csv, which page 06 shows.
"""
import argparse
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
import numpy as np
import torch
from tqdm import tqdm
from urbansounds_nb import __version__
from urbansounds_nb.audio import read_audio, resample
from urbansounds_nb.core import DataError, atomic_write, cli_errors, csv_text
from urbansounds_nb.dataset import load_clips
from urbansounds_nb.models import load_classifier
from urbansounds_nb.predict import classify_each

def at_level(wave, rate, gain): return wave*np.float32(10**(gain/20))

def band_limited(wave, rate, bandwidth):
    "The sound after it was kept at twice that sample rate (Hz)"
    return resample(resample(wave, rate, 2*bandwidth), 2*bandwidth, rate)

def after_zeros(wave, rate, seconds):
    return np.concatenate([np.zeros(round(seconds*rate), np.float32), wave])

def with_offset(wave, rate, offset): return wave+np.float32(offset)

CONDITIONS = {
    'as recorded': lambda wave, rate: wave,
    **{f'level {gain:+d} dB': partial(at_level, gain=gain)
       for gain in (-40, -30, -20, -10, 10, 20)},
    **{f'bandwidth {hz/1000:g} kHz': partial(band_limited, bandwidth=hz)
       for hz in (8000, 5500, 4000)},
    '2 s of zeros before': partial(after_zeros, seconds=2),
    'constant offset 0.9': partial(with_offset, offset=.9)}

def measure(sounds, labels, classifier):
    "Shares (%) of sounds with the right nearest class, and of answers without a class"
    found = list(classify_each(sounds, classifier=classifier))
    share = lambda values: round(100*float(np.mean(values)), 1)
    return dict(correct=share([p.nearest_class == c for p, c in zip(found, labels)]),
                unknown=share([p.label == 'unknown' for p in found]),
                silence=share([p.label == 'silence' for p in found]))

def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--data', required=True, help='the recordings, as for urbansounds_crossval')
    add('--fold', type=int, default=10, help='not in the training data (default: 10)')
    add('--clips', type=int, default=0, help='how many of them (default: all)')
    add('--checkpoint', help='path of a checkpoint (default: the one of the package)')
    add('--to', type=Path, default=Path('results/conditions.csv'), help='where to')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with cli_errors():
        path = Path(args.checkpoint or files('urbansounds_nb')/'checkpoint.safetensors')
        classifier = load_classifier(path)
        digest = sha256(path.read_bytes()).hexdigest()
        clips = [clip for clip in load_clips(args.data) if clip['fold'] == args.fold]
        if not clips: raise DataError(f'{args.data}: no clip of fold {args.fold}')
        some = np.linspace(0, len(clips)-1, args.clips or len(clips))
        clips = [clips[round(n)] for n in some]
        sounds, labels = zip(*((read_audio(c['audio']), c['class']) for c in clips))
        about = dict(clips=len(clips), data=f'UrbanSound8K, fold {args.fold}',
                     checkpoint=f'{classifier.name} {digest[:12]}', version=__version__)
        rows = []
        for name, change in (bar := tqdm(CONDITIONS.items())):
            bar.set_postfix_str(name)
            changed = ((change(wave, rate), rate) for wave, rate in sounds)
            shares = measure(changed, labels, classifier)
            rows.append(dict(condition=name) | shares | about)
            tqdm.write(f'{name}: {shares}')
        with atomic_write(args.to) as file:
            file.write_text(csv_text([rows[0], *(row.values() for row in rows)]))
        print(f'written: {args.to}')

if __name__ == '__main__': main()
