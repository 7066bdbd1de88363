#!/usr/bin/env python3
"""Score one short training on the official folds and on a random split of the same clips.

    python tools/random_split.py --data path/to/UrbanSound8K [--results results/random]
    python tools/random_split.py --data runs/mel128 --experiment cnn1d-mel128 --splits random --results results/random-ten

The random split deals clips, not recordings, which is how scores far above the honest
ones come about. The package refuses to do that, so here every clip is passed off as a
recording of its own. Writes results/random/official and results/random/random.
"""
import argparse
from pathlib import Path
import numpy as np
from urbansounds_nb.core import cli_errors
from urbansounds_nb.crossval import run_fold
from urbansounds_nb.experiments import get_experiment
from urbansounds_nb.features import load_source
from urbansounds_nb.report import write_scores

def dealt_at_random(data, seed=0):
    "The same clips in random folds of the same sizes, their recordings forgotten"
    data.columns['fold'] = np.random.default_rng(seed).permutation(data.columns['fold'])
    data.columns['fsID'] = data.columns['slice_file_name']
    data.source += ', folds dealt at random'
    return data

SPLITS = {'official': lambda data: data, 'random': dealt_at_random}

def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--data', required=True, help='the recordings, as for urbansounds_crossval')
    add('--results', default='results/random', type=Path, help='where to')
    add('--experiment', default='ablation-warp', help='what to train (default: %(default)s)')
    add('--splits', nargs='+', choices=SPLITS, default=[*SPLITS], help='default: both')
    add('--folds', nargs='+', type=int, default=[], help='only these (default: all)')
    add('--epochs', type=int, default=0, help='instead of those of the experiment')
    args = parser.parse_args()
    with cli_errors():
        experiment = get_experiment(args.experiment, epochs=args.epochs)
        for kind in args.splits:
            data = SPLITS[kind](load_source(args.data, experiment.front_end))
            for fold in args.folds or sorted({*data.columns['fold'].tolist()}):
                run = run_fold(data, experiment, fold, folder=args.results/kind)
                print(f'{kind} fold {fold}: {100*run.row["accuracy"]:.1f} %', flush=True)
            write_scores(args.results/kind)

if __name__ == '__main__': main()
