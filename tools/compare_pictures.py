#!/usr/bin/env python3
"""Compare the spectrograms computed from published pictures with those of recordings.

    python tools/compare_pictures.py PICTURES RECORDINGS [--out results/pictures.csv]

PICTURES is what tools/tenfold.py made, RECORDINGS any source of urbansounds_crossval
with clips of the same names. Levels are in dB, relative to the maximum of the clip.
"""
import argparse
from pathlib import Path
import numpy as np
from urbansounds_nb.core import DataError, atomic_write, cli_errors, csv_text
from urbansounds_nb.features import load_features, load_source

RESULTS = Path(__file__).resolve().parents[1]/'results'

def differences(pictures, recordings, top):
    "Of each clip in both: mean absolute difference below band `top`, mean above (dB)"
    place = {name: i for i, name in enumerate(pictures.columns['slice_file_name'])}
    for i, name in enumerate(recordings.columns['slice_file_name']):
        if (j := place.get(name)) is None: continue
        n = min(int(pictures.lengths[j]), int(recordings.lengths[i]))
        # The first and the last frame are padded differently
        both = (pictures, j), (recordings, i)
        apart = np.subtract(*(data.mel[k, :, 1:n-1].float() for data, k in both))
        if apart.size: yield np.abs(apart[:top]).mean(), apart[top:].mean()

def compare(pictures, recordings, out, top_share=.07):
    "Write one row: number of clips, and medians over clips"
    pictures = load_features(pictures, 'mel128')
    recordings = load_source(recordings, 'mel128')
    bands = pictures.mel.shape[1]
    top = round(bands*(1-top_share))
    found = np.array([*differences(pictures, recordings, top)])
    if not len(found):
        raise DataError(f'{recordings.source}: no clip of the pictures is among these')
    below, above = np.median(found, axis=0)
    text = csv_text([('bands', 'of', 'clips', 'below_db', 'above_db'),
                     (top, bands, len(found), f'{below:.2f}', f'{above:.2f}')])
    with atomic_write(out) as unfinished: unfinished.write_text(text, encoding='utf-8')
    print(text)

def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('pictures', help='prepared by tools/tenfold.py')
    add('recordings', help='as --data of urbansounds_crossval')
    add('--out', type=Path, default=RESULTS/'pictures.csv', help='table to write')
    args = parser.parse_args()
    with cli_errors(): compare(args.pictures, args.recordings, args.out)

if __name__ == '__main__': main()
