#!/usr/bin/env python3
"""Draw the pictures of the first page: nbs/card.png, which a link to the site shows, and
nbs/way.png, the way from a sound to its label.

    python tools/pictures.py
"""
import io
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke
from run_notebooks import small
from urbansounds_nb.models import default_classifier
from urbansounds_nb.spectrogram import LogMel, show_mel
from urbansounds_nb.synthetic import synthesise

PAGES, RATE = Path(__file__).resolve().parent.parent/'nbs', 22050

def save(figure, name):
    "A small PNG"
    figure.savefig(drawn := io.BytesIO())
    (PAGES/name).write_bytes(small(drawn.getvalue()))

def write(figure, x, y, text, size, colour='white'):
    "Bold text that can be read on a spectrogram"
    figure.text(x, y, text, size=size, color=colour, weight='bold',
                path_effects=[withStroke(linewidth=6, foreground='#14071e')])

def card():
    "A synthesised siren as a network sees it, with the project's name"
    mel = LogMel().clip_mel(synthesise('siren', seed=4, sample_rate=RATE), RATE)
    figure = plt.figure(figsize=(12, 6.3), dpi=100)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.imshow(mel, origin='lower', aspect='auto', cmap='magma', interpolation='nearest')
    axes.axis('off')
    write(figure, .06, .78, 'urbansounds_nb', 62)
    write(figure, .06, .59, 'Urban sounds, from the waveform\nto an honest ten-fold score', 30)
    write(figure, .06, .09, 'siren', 34, '#fcfdbf')
    save(figure, 'card.png')

def way():
    "A synthesised drill: waveform, spectrogram, and what the model says of it"
    wave = synthesise('drilling', seed=1, sample_rate=RATE)
    classifier = default_classifier()
    chances = classifier.predict_proba(wave, RATE)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), dpi=100,
        layout='constrained', width_ratios=(1, 1.2, 1))
    left.plot(np.arange(len(wave))/RATE, wave, lw=.4, color='#3b0f70')
    left.set(title='a sound', xlabel='time (s)', yticks=[])
    mel = classifier.front_end.clip_mel(wave, RATE)
    show_mel(mel, classifier.front_end, middle, 'its spectrogram')
    right.barh([name.replace('_', ' ') for name in classifier.classes], 100*chances,
               color=['#de4968' if p == chances.max() else '#b8b0c4' for p in chances])
    right.set(title='its label', xlabel='probability (%)', xlim=(0, 100))
    right.invert_yaxis()
    save(figure, 'way.png')

if __name__ == '__main__':
    plt.switch_backend('agg')
    card()
    way()
