#!/usr/bin/env python3
"""All ten official folds as a prepared data set, from published 8-bit log-mel pictures.

    python tools/tenfold.py NPZ_FOLDER OUT [--front-end mel128] [--step 0.5]

NPZ_FOLDER holds fold1.npz … fold10.npz with the spectrograms `mel64`, `mel128` and
`mel256` in dB, the boundaries of the clips in `offset`, and the columns of the metadata.
Levels are rounded to steps of 0.5 dB, about that of the pictures themselves: the data
then take a third of the space. OUT can then be given as --data to urbansounds_crossval. The pictures derive from
UrbanSound8K (CC BY-NC): measure with them, do not publish them.
"""
import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from urbansounds_nb.audio import content_digest
from urbansounds_nb.core import DataError, atomic_write, cli_errors
from urbansounds_nb.dataset import COLUMNS
from urbansounds_nb.features import dataset_card, describe_parts, write_part
from urbansounds_nb.spectrogram import FRONT_ENDS, LogMel

SOURCE, SIZE = 'UrbanSound8K, 8-bit log-mel pictures', 100

class Clips(list):
    "Records with what `describe_parts` needs to know of them"
    embedded = False

def read_fold(path, front_end, step=.5):
    "Records with digests, and their spectrograms (n_mels, frames) in steps of some dB"
    with np.load(path, allow_pickle=False) as fold:
        offsets, mel, pictures = fold['offset'], fold[f'mel{front_end.n_mels}'], fold['mel256']
        columns = {name: fold[name].tolist() for name in COLUMNS[1:]}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    mels = []
    for clip, start, end in zip(rows, offsets, offsets[1:]):
        clip |= dict(fsID=str(clip['fsID']), digest=content_digest(f'{step} dB'.encode() + pictures[start:end].tobytes()))
        decibels = mel[start:end].T.astype(np.float32)
        if front_end.relative: decibels = np.maximum(decibels-decibels.max(), -front_end.top_db)
        mels.append(step*np.round(decibels/step))
    return rows, mels

def write_clips(out, clips, mels, front_end, step=.5):
    "Write the parts and the card of a prepared data set"
    clips = Clips(clips)
    clips.source = f'{SOURCE} in steps of {step:g} dB'
    clips.classes = tuple(sorted({clip['class'] for clip in clips}))
    about = describe_parts(clips, front_end)
    def write(number):
        some = slice(SIZE*number, SIZE*(number+1))
        write_part(out, number, clips[some], mels[some], about)
    with ThreadPoolExecutor() as pool: [*pool.map(write, range(about['parts']))]
    with atomic_write(Path(out)/'README.md') as unfinished:
        unfinished.write_text(dataset_card(out), encoding='utf-8')
    print(f'{out}: {len(clips)} clips')

def convert(source, out, name, step):
    "A prepared data set from the arrays of ten folds"
    front_end, settings = LogMel(**FRONT_ENDS[name]), FRONT_ENDS[name]
    if (settings['sample_rate'], settings['n_fft'], settings['hop_length']) != (22050, 1024, 512):
        raise DataError(f'{name}: the pictures have 22 050 Hz, n_fft 1024 and hop 512: choose another')
    paths = [Path(source)/f'fold{fold}.npz' for fold in range(1, 11)]
    missing = [path for path in paths if not path.is_file()]
    if missing: raise DataError(f'{missing[0]}: no such file: make the folds first')
    if Path(out).exists() and any(Path(out).iterdir()):
        raise DataError(f'{out}: not empty: give another folder')
    clips, mels = [], []
    for path in paths:
        rows, found = read_fold(path, front_end, step)
        clips += rows
        mels += found
    write_clips(out, clips, mels, front_end, step)

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('source', help='folder with fold1.npz … fold10.npz')
    parser.add_argument('out', help='where the prepared data set goes')
    parser.add_argument('--front-end', default='mel128', choices=[*FRONT_ENDS])
    parser.add_argument('--step', type=float, default=.5, help='round levels to steps of so many dB')
    arguments = parser.parse_args()
    with cli_errors(): convert(arguments.source, arguments.out, arguments.front_end, arguments.step)

if __name__ == '__main__': main()
