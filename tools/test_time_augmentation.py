#!/usr/bin/env python3
"""Score the models of a results folder on six versions of each clip instead of one.

    python tools/test_time_augmentation.py --data SOURCE --results runs --experiments NAME …

The versions are the clip at three speeds (1, 0.85 and 1.18), each as it is and rotated by
a third of its length; the probabilities are averaged. Appends one line for each experiment
to results/test_time.csv.
"""
import argparse, csv
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import torch
from urbansounds_nb.core import DataError, cli_errors
from urbansounds_nb.crossval import split
from urbansounds_nb.experiments import get_experiment
from urbansounds_nb.features import load_source
from urbansounds_nb.metrics import paired_test
from urbansounds_nb.models import AudioClassifier
from urbansounds_nb.study import Study
from urbansounds_nb.training import predict_logits

VERSIONS = [(speed, turn) for speed in (1., .85, 1.18) for turn in (0., 1/3)]

def version(mel, speed, turn):
    "Log-mels (clips, bands, frames), played faster or slower and rotated"
    frames = mel.shape[2]
    place = (torch.arange(frames)*speed + turn*frames) % frames
    low, part = place.long(), place.frac()
    return torch.lerp(mel[..., low], mel[..., (low+1) % frames], part)

def predictions(model, data, rows):
    "Classes of some clips: predicted from the first version, and from all of them"
    mel, odds = data.mel[rows].float(), 0.
    for speed, turn in VERSIONS:
        one = SimpleNamespace(mel=version(mel, speed, turn), lengths=data.lengths[rows])
        logits = predict_logits(model, one, torch.arange(len(rows)))
        odds = odds + torch.from_numpy(logits).softmax(1)
        if (speed, turn) == VERSIONS[0]: alone = odds.argmax(1)
    return alone.numpy(), odds.argmax(1).numpy()

def measure(data, study, runs):
    "One line of the table"
    correct, groups, means = [], [], []
    for run in runs:
        rows, row = split(data.columns, run.row['fold'])[1], run.row
        path = study.model_path(row['experiment'], 'test', row['fold'], row['seed'])
        found = np.stack(predictions(AudioClassifier.load(path), data, rows))
        correct.append(found == data.labels[rows].numpy())
        groups.append(data.columns['fsID'][rows])
        means.append(correct[-1].mean(1))
        if abs(means[-1][0] - row['accuracy']) > .004: raise DataError(f'{path}: '
            f'scores {means[-1][0]:.3f}, its record says {row["accuracy"]:.3f}: other data?')
        print(row['experiment'], row['fold'], means[-1].round(3), flush=True)
    one, six = np.concatenate(correct, 1)
    accuracy, folds = np.mean(means, 0), sorted(run.row['fold'] for run in runs)
    return dict(source=data.source, experiment=runs[0].row['experiment'],
        folds=' '.join(map(str, folds)), accuracy=round(accuracy[0], 4),
        accuracy_of_six=round(accuracy[1], 4),
        p=round(paired_test(six, one, np.concatenate(groups))[1], 4))

def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--data', required=True, help='the recordings, or a prepared folder')
    add('--results', required=True, help='results folder with the models')
    add('--experiments', nargs='+', required=True)
    add('--to', default='results/test_time.csv', type=Path)
    args = parser.parse_args()
    with cli_errors():
        study, lines = Study(args.results), []
        for name in args.experiments:
            runs = [run for run in study.runs('test')
                    if run.row['experiment'] == name and run.row['seed'] == 0]
            if not runs: raise DataError(f'{args.results}: no run of {name} with seed 0: '
                'train it with urbansounds_crossval, or name another')
            data = load_source(args.data, get_experiment(name).front_end)
            lines.append(measure(data, study, runs))
        new = not args.to.exists()
        with open(args.to, 'a', newline='') as file:
            writer = csv.DictWriter(file, lines[0])
            if new: writer.writeheader()
            writer.writerows(lines)

if __name__ == '__main__': main()
