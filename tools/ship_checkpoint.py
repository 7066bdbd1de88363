#!/usr/bin/env python3
"""Make the checkpoint that comes with the package, and its card, from two finished runs:

    python tools/ship_checkpoint.py --data path/to/UrbanSound8K --results results --experiment residual-cnn-wide --fold 10 --seed 0

The model is that of the test run. It was not trained on the test fold, so the score on its card is of recordings that are new to it.
Temperature and thresholds come from the validation run of the same experiment, fold and seed, in which the test fold takes no part.
Make both runs first:

    urbansounds_crossval --data path/to/UrbanSound8K --experiments residual-cnn-wide --folds 10 --results results
    urbansounds_crossval --data path/to/UrbanSound8K --experiments residual-cnn-wide --folds 10 --results results --scored-on validation
"""
import argparse, shutil, subprocess
from pathlib import Path
import numpy as np
import torch
from urbansounds_nb.audio import read_audio, resample
from urbansounds_nb.checkpoint import model_card
from urbansounds_nb.core import DataError, cli_errors
from urbansounds_nb.crossval import split
from urbansounds_nb.dataset import CITATION
from urbansounds_nb.features import load_source
from urbansounds_nb.metrics import bootstrap_interval, expected_calibration_error, fit_temperature, scores
from urbansounds_nb.models import AudioClassifier
from urbansounds_nb.rejection import MahalanobisDetector, fit_threshold, out_of_class_sounds
from urbansounds_nb.study import Study

SHIPPED = Path(__file__).resolve().parents[1]/'urbansounds_nb'/'checkpoint.safetensors'
LARGEST = 3_000_000  # bytes
LICENCE = 'CC BY-NC 4.0: not for commercial use, as the recordings that it was trained on'
NOT_FOR = ('surveillance, safety or legal decisions; speech, animals or places outside the city; any commercial use; '
           'sounds of none of its classes, of which it rejects only some (see rejection)')
CHOSEN, COUNTED = range(20), range(1000, 1020)  # random seeds of out-of-class sounds: to choose thresholds, and to count

@torch.inference_mode()
def outputs(model, data, rows):
    "Logits and features for prepared clips, in the 32 bits that a user gets"
    parts = [model.eval().features(data.mel[some].float(), data.lengths[some]) for some in rows.split(64)]
    return torch.cat([logits for _, logits in parts]).numpy(), torch.cat([features for features, _ in parts]).numpy()

def speech(seed, rate=22050):
    "Four seconds of a synthetic voice that reads numbers, at a random level"
    rng = np.random.default_rng([seed, 7])
    voice = '+'.join(map(rng.choice, (['en', 'de', 'fr', 'es', 'it'], ['m1', 'f2'])))
    numbers = ' '.join(map(str, rng.integers(1000, size=12)))
    spoken = subprocess.run(['espeak-ng', '-v', voice, '--stdout', numbers], capture_output=True, check=True).stdout
    wave = resample(*read_audio(spoken), rate)[:4*rate]
    return (10**rng.uniform(-2, -.1)*wave/np.abs(wave).max()).astype(np.float32)

def foreign_sounds(seeds):
    "(kind, wave) of sounds that no class covers; with speech where espeak-ng is installed, as the card then says"
    return out_of_class_sounds(seeds) + [('speech', speech(seed)) for seed in seeds if shutil.which('espeak-ng')]

def outputs_for(model, sounds, rate=22050):
    "Logits and features for (kind, wave) pairs"
    return model.predict_logits([wave for _, wave in sounds], rate)

def fitted_detector(model, data, rows):
    "The distance of features from the clips that the model was trained on"
    _, features = outputs(model, data, rows)
    return MahalanobisDetector(len(model.classes), features.shape[1]).fit(features, data.labels[rows].numpy())

def thresholds(known, unknown, temperature, detector):
    "Smallest probability and largest distance of a prediction; validation clips lose at most 2 and 8 % by them"
    confidence = lambda pair: torch.tensor(pair[0]/temperature).softmax(1).amax(1).numpy()
    nearness = lambda pair: -detector(torch.tensor(pair[1])).numpy()
    return (fit_threshold(confidence(known), confidence(unknown), .02),
            -fit_threshold(nearness(known), nearness(unknown), .08))

def finished(study, *key):
    "A finished run and its model"
    path, model = study.path(*key), study.model_path(*key)
    for file in (path, model):
        if not file.is_file(): raise DataError(f'{file}: missing: run urbansounds_crossval as --help says')
    return study.read_run(path), AudioClassifier.load(model)

def finish(data, run, model, checker):
    "Give the model of a test run its temperature and thresholds; returns the header of its checkpoint"
    fold = run.row['fold']
    if run.row['data'] != data.digest: raise DataError('--data: other clips than those of the run: give the same data')
    (train_rows, rows), (checker_rows, held_rows) = (split(data.columns, fold, scored_on) for scored_on in ('test', 'validation'))
    if data.columns['slice_file_name'][rows].tolist() != run.names.tolist():
        raise DataError('--data: its clips are in another order than those of the run: prepare them again')
    # temperature and thresholds: without the test fold
    held_out, chosen_with = outputs(checker, data, held_rows), outputs_for(checker, foreign_sounds(CHOSEN))
    model.temperature = fit_temperature(data.labels[held_rows].numpy(), held_out[0])
    model.min_confidence, model.ood_threshold = thresholds(
        held_out, chosen_with, model.temperature, fitted_detector(checker, data, checker_rows))
    model.detector = fitted_detector(model, data, train_rows)
    # what they cost: on the test fold, and on other out-of-class sounds
    found, others = outputs(model, data, rows), foreign_sounds(COUNTED)
    foreign, right = outputs_for(model, others), found[0].argmax(1) == run.labels
    rejected, accepted = np.array(model.decide(*found)[2]) != '', np.array(model.decide(*foreign)[2]) == ''
    kinds = {kind: np.mean([a for a, (k, _) in zip(accepted, others) if k == kind]) for kind in dict(others)}
    folds = sorted({*data.columns['fold'].tolist()} - {fold})
    measured, (low, high) = scores(run.labels, found[0]), bootstrap_interval(right, run.groups)
    errors = [expected_calibration_error(run.labels, found[0]/t) for t in (1, model.temperature)]
    percent = lambda share: f'{100*share:.0f} %'
    return dict(
        licence=LICENCE, citation=CITATION, not_for=NOT_FOR, results=run.row,
        trained_on=f'{len(train_rows)} clips of {data.source}, folds {", ".join(map(str, folds))}, {run.row["epochs"]} epochs',
        score=f'{100*measured["accuracy"]:.1f} % of the {len(rows)} clips of fold {fold}, on which it was not trained (95 % interval over '
              f'recordings {100*low:.1f} to {100*high:.1f} %), macro-F1 {100*measured["macro_f1"]:.1f} %; one fold, not a ten-fold score',
        recall={name: round(float(value), 4) for name, value in zip(run.classes, measured['recall'])},
        calibration=f'temperature {model.temperature:.2f}, fitted on {len(held_rows)} validation clips; expected calibration error '
                    f'on fold {fold} {errors[0]:.3f} without it, {errors[1]:.3f} with it',
        rejection=f'predictions below {percent(model.min_confidence)} or with a distance above {model.ood_threshold:.1f} are rejected: '
                  f'on fold {fold} {percent(rejected.mean())} of all clips ({percent(rejected[right].mean())} of the right, '
                  f'{percent(rejected[~right].mean())} of the wrong predictions); of {len(others)} synthetic sounds that no class covers '
                  f'{percent(accepted.mean())} are accepted (' + ', '.join(f'{kind} {percent(share)}' for kind, share in kinds.items()) + ')')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='recordings or prepared folder, as for urbansounds_crossval')
    parser.add_argument('--results', default='results', help='results folder with predictions/ and models/')
    parser.add_argument('--experiment', default='residual-cnn', help='an entry of EXPERIMENTS')
    parser.add_argument('--fold', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--to', type=Path, default=SHIPPED, help='file to write; the card is written beside it')
    args = parser.parse_args()
    with cli_errors():
        study = Study(args.results)
        (run, model), (_, checker) = (finished(study, args.experiment, scored_on, args.fold, args.seed) for scored_on in ('test', 'validation'))
        header = finish(load_source(args.data, model.front_end, progress=False), run, model, checker)
        model.save(args.to, **header)
        size = args.to.stat().st_size
        if size > LARGEST: raise DataError(f'{args.to}: {size/1e6:.1f} MB are too large for the package: choose a smaller model')
        card = model_card(AudioClassifier.load(args.to).header)
        args.to.with_suffix('.md').write_text(card, encoding='utf-8')
        print(card)
        print(f'{args.to.name}: {size/1e6:.2f} MB')

if __name__ == '__main__': main()
