#!/usr/bin/env python3
"""Draw nbs/card.png, which a link to the site shows, and nbs/way.png, the way from sound to label on the first page; with the recordings,
`tools/pictures.py path/to/UrbanSound8K`, nbs/wrong.png as well, on the page of results."""
import io, sys
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke
from PIL import Image
from urbansounds_nb.crossval import by_model, clip_scores, load_data, read_runs
from urbansounds_nb.predict import load
from urbansounds_nb.spectrogram import LogMel, show_mel
from urbansounds_nb.synthetic import synthesise

PAGES, RATE = Path(__file__).resolve().parent.parent/'nbs', 22050

def save(figure, name):
    "A small PNG with few colours"
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert('RGB').quantize(48).save(PAGES/name, optimize=True)

def card():
    "A synthesised siren as a network sees it, with the project's name"
    mel = LogMel().clip_mel(synthesise('siren', seed=4, sample_rate=RATE), RATE)
    figure = plt.figure(figsize=(12, 6.3), dpi=100)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.imshow(mel.squeeze(), origin='lower', aspect='auto', cmap='magma', interpolation='nearest')
    axes.axis('off')
    for height, size, text in (.78, 62, 'urbansounds_nb'), (.59, 30, 'Urban sounds, from the waveform\nto an honest ten-fold score'):
        figure.text(.06, height, text, size=size, color='white', weight='bold', path_effects=[withStroke(linewidth=7, foreground='#14071e')])
    figure.text(.06, .09, 'siren', size=34, color='#fcfdbf', weight='bold', path_effects=[withStroke(linewidth=6, foreground='#14071e')])
    save(figure, 'card.png')

def way():
    "A synthesised drill: waveform, spectrogram, and what the model that comes along says of it"
    wave, listener = synthesise('drilling', seed=1, sample_rate=RATE), load()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), dpi=100, layout='constrained', width_ratios=(1, 1.2, 1))
    left.plot(np.arange(len(wave))/RATE, wave, lw=.4, color='#3b0f70')
    left.set(title='a sound', xlabel='time (s)', yticks=[])
    show_mel(listener.front_end.clip_mel(wave, RATE), listener.front_end, middle, 'its spectrogram')
    chances = listener.probabilities(wave, RATE)
    right.barh([name.replace('_', ' ') for name in listener.classes], 100*chances, color=['#de4968' if p == chances.max() else '#b8b0c4' for p in chances])
    right.set(title='its label', xlabel='probability (%)', xlim=(0, 100))
    right.invert_yaxis()
    save(figure, 'way.png')

def wrong(source, n=6):
    "A clip of each of the recordings that the strong CNN gets wrong most often"
    data, runs = load_data(source, 'fine', False), by_model(read_runs(PAGES.parent/'results'))['residual-cnn']
    _, recordings, right = clip_scores(runs)
    worst = sorted(np.unique(recordings), key=lambda r: (1-right[recordings == r]).sum())[:-n-1:-1]
    figure, axes = plt.subplots(2, n//2, figsize=(10, 5), dpi=100, layout='constrained', sharex=True, sharey=True)
    for ax, recording in zip(axes.flat, worst):
        run, i = next((run, i) for run in runs for i in np.flatnonzero(~run.correct & (run.groups == recording)))
        row = int(np.flatnonzero(data.columns['slice_file_name'] == run.names[i])[0])
        names = [run.classes[label].replace('_', ' ') for label in (run.labels[i], run.logits[i].argmax())]
        show_mel(data.mel[row].float(), data.front_end, ax, f'{recording}: {names[0]},\ntaken for {names[1]}')
    for ax in axes[0]: ax.set(xlabel='')
    for ax in axes[:, 1:].flat: ax.set(ylabel='')
    save(figure, 'wrong.png')

if __name__ == '__main__':
    card(); way()
    if sys.argv[1:]: wrong(sys.argv[1])
