#!/usr/bin/env python3
"""Score one short training on the official folds and on a random split of the same clips, into results/random/:

    python tools/random_split.py --data path/to/UrbanSound8K [--results results/random]

The random split deals clips, not recordings, which is how scores far above the honest ones come about. The package refuses to do that, so
here every clip is passed off as a recording of its own.
"""
import argparse
from pathlib import Path
import numpy as np
from urbansounds_nb.crossval import load_data, run_fold, write_scores
from urbansounds_nb.dataset import one_line_errors

NAME = 'step6-warp'

def dealt_at_random(data, seed=0):
    "The same clips with folds of the same sizes, drawn at random, and no memory of their recordings"
    data.columns['fold'] = np.random.default_rng(seed).permutation(data.columns['fold'])
    data.columns['fsID'] = data.columns['slice_file_name']
    return data

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='the recordings, as for urbansounds_crossval')
    parser.add_argument('--results', default='results/random', type=Path)
    args = parser.parse_args()
    with one_line_errors():
        for kind, change in (('official', lambda data: data), ('random', dealt_at_random)):
            data = change(load_data(args.data, 'default', False))
            for fold in sorted({*data.columns['fold'].tolist()}):
                run = run_fold(data, NAME, fold, folder=args.results/kind)
                print(f'{kind} fold {fold}: {100*run.row["accuracy"]:.1f} %', flush=True)
            write_scores(args.results/kind)

if __name__ == '__main__': main()
