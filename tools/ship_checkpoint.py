#!/usr/bin/env python3
"""Make the checkpoint that comes with the package, and its card, from a finished run:

    python tools/ship_checkpoint.py --data path/to/UrbanSound8K --results results --model residual-cnn --fold 10 --seed 0

The model is the one that was scored on the test fold, so the score on its card is of recordings that it never heard. Temperature and
threshold come from the run of the same model, fold and seed with --validate. Make both first:

    urbansounds_crossval --data path/to/UrbanSound8K --models residual-cnn --folds 10 --results results
    urbansounds_crossval --data path/to/UrbanSound8K --models residual-cnn --folds 10 --results results --validate
"""
import argparse
from pathlib import Path
import numpy as np
import torch
from urbansounds_nb.crossval import Run, data_key, data_name, load_data, run_path, split
from urbansounds_nb.dataset import DataError, one_line_errors
from urbansounds_nb.models import load, save
from urbansounds_nb.predict import Listener, Usual, fit_unknown, foreign_sounds, model_card, rejection
from urbansounds_nb.spectrogram import CITATION
from urbansounds_nb.training import bootstrap_interval, calibration_error, fit_temperature, scores

SHIPPED = Path(__file__).resolve().parents[1]/'urbansounds_nb'/'checkpoint.safetensors'
LARGEST = 3_000_000  # bytes
NOT_FOR = ('surveillance, safety or legal decisions; speech, animals or places outside the city; any commercial use; '
           'sounds that none of the ten classes covers: it has no way to know them all, see the false alarms')

def heard_in(model, sounds, rate=22050):
    "Logits and features of a model for sounds that no class covers"
    return tuple(map(np.concatenate, zip(*(Listener(model).hear([wave], rate) for _, wave in sounds))))

@torch.inference_mode()
def heard_of(model, data, rows):
    "Logits and features for prepared clips, in the 32 bits that a user gets"
    parts = [model.eval().features(data.mel[some].float(), data.lengths[some]) for some in rows.split(64)]
    return torch.cat([logits for _, logits in parts]).numpy(), torch.cat([features for features, _ in parts]).numpy()

def usual_of(model, data, rows):
    "What the features of a model usually are: measured on the clips that it was trained on"
    features = heard_of(model, data, rows)[1]
    return Usual(len(model.classes), features.shape[1]).measure(features, data.labels[rows].numpy())

def thresholds(held_out, foreign, temperature, usual):
    "Below which probability, and beyond which distance, an answer is `unknown`"
    best = lambda logits, _: torch.as_tensor(logits/temperature).softmax(1).amax(1).numpy()
    far = lambda _, features: -usual(torch.as_tensor(features)).numpy()
    return fit_unknown(best(*held_out), best(*foreign), .02), -fit_unknown(far(*held_out), far(*foreign), .08)

def finished(results, *identity):
    "A finished run and its model"
    path = run_path(results, *identity)
    trained = Path(results)/'models'/f'{path.stem}.safetensors'
    for file in (path, trained):
        if not file.exists(): raise DataError(f'{file}: not there: run urbansounds_crossval as `--help` says')
    return Run.read(path), load(trained)

def header(data, run, model, checker):
    "Everything that the card says"
    if run.row['data'] != data_name(data): raise DataError('--data: other clips than those of the run: give those that it was made with')
    fold, (train_then, held_rows), (train_rows, rows) = run.row['fold'], split(data.columns, run.row['fold'], True), split(data.columns, run.row['fold'])
    if data.columns['slice_file_name'][rows].tolist() != run.names.tolist(): raise DataError('--data: its clips stand in another order than those of the run: give those that it was made with')
    heard, held_out, labels = heard_of(model, data, rows), heard_of(checker, data, held_rows), run.labels
    temperature, right = fit_temperature(data.labels[held_rows].numpy(), held_out[0]), heard[0].argmax(1) == labels
    below, beyond = thresholds(held_out, heard_in(checker, foreign_sounds(range(20))), temperature, usual_of(checker, data, train_then))
    listener = Listener(model, temperature, below, beyond, usual_of(model, data, train_rows))
    others = foreign_sounds(range(1000, 1020))
    foreign = heard_in(model, others)
    shares, lost, caught = rejection(listener, heard, foreign), listener.judge(*heard)[1], listener.judge(*foreign)[1]
    kinds = {kind: round(float(np.mean([not c for c, (k, _) in zip(caught, others) if k == kind])), 3) for kind in dict.fromkeys(k for k, _ in others)}
    folds = sorted({*data.columns['fold'].tolist()} - {fold})
    n_clips, found = len(train_rows), scores(labels, heard[0])
    low, high = bootstrap_interval(right, run.groups)
    figure = '' if len(folds) == 9 else f'; a development figure of a training on {len(folds)} of nine folds, not comparable with ten-fold scores'
    return dict(
        licence='CC BY-NC 4.0: not for commercial use, as the recordings it was trained on', citation=CITATION, not_for=NOT_FOR,
        trained_on=f'{n_clips} clips of UrbanSound8K, folds {", ".join(map(str, folds))}, {run.row["epochs"]} epochs',
        score=f'{100*found["accuracy"]:.1f} % of the {len(labels)} clips of fold {fold}, which it never heard (95 % interval over recordings {100*low:.1f} to {100*high:.1f} %), macro-F1 {100*found["macro_f1"]:.1f} %{figure}',
        recall={name: round(float(value), 4) for name, value in zip(run.classes, found['recall'])},
        temperature=temperature, unknown_below=below, unknown_beyond=beyond, false_alarms=kinds,
        usual={name: [[float(f'{value:.6g}') for value in row] for row in values.tolist()] for name, values in listener.usual.state_dict().items()},
        calibration=f'temperature {temperature:.2f}, fitted on {len(held_rows)} held-out clips; expected calibration error on fold {fold} {calibration_error(labels, heard[0]):.3f} without, {calibration_error(labels, heard[0]/temperature):.3f} with it',
        unknown=f'an answer below {100*below:.0f} %, or one whose features lie beyond {beyond:.1f} widths of any class: of the clips of fold {fold} that loses {100*shares["known_lost"]:.0f} % ({100*lost[right].mean():.0f} % of the right, '
                f'{100*lost[~right].mean():.0f} % of the wrong answers); of {len(others)} sounds that no class covers {100*shares["false_alarms"]:.0f} % still get the name of a class ('
                + ', '.join(f'{kind} {100*share:.0f} %' for kind, share in kinds.items()) + ')',
        results=run.row)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='the recordings, as for urbansounds_crossval')
    parser.add_argument('--results', default='results', help='results folder with predictions/ and models/')
    parser.add_argument('--model', default='residual-cnn', help='an entry of TRAININGS')
    parser.add_argument('--fold', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--to', type=Path, default=SHIPPED, help='the file to write')
    args = parser.parse_args()
    with one_line_errors():
        (run, model), (_, checker) = (finished(args.results, args.model, scored_on, args.fold, args.seed) for scored_on in ('test', 'validation'))
        about = header(load_data(args.data, *data_key(args.model), progress=False), run, model, checker)
        save(model, args.to, **about)
        if args.to.stat().st_size > LARGEST: raise DataError(f'{args.to}: {args.to.stat().st_size/1e6:.1f} MB are too large for the package: choose a smaller model')
        card = model_card(about | dict(model=model.name))
        args.to.with_suffix('.md').write_text(card, encoding='utf-8')
        print(card)
        print(f'{args.to.name}: {args.to.stat().st_size/1e6:.2f} MB')

if __name__ == '__main__': main()
