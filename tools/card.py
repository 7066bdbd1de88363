#!/usr/bin/env python3
"""Draw nbs/card.png, the picture that a link to the site shows: a synthesised siren as the network sees it."""
import io
from pathlib import Path
import matplotlib.pyplot as plt
from matplotlib.patheffects import withStroke
from PIL import Image
from urbansounds_nb.spectrogram import LogMel
from urbansounds_nb.synthetic import synthesise

CARD = Path(__file__).resolve().parent.parent/'nbs'/'card.png'

def draw():
    mel = LogMel().clip_mel(synthesise('siren', seed=4, sample_rate=22050), 22050)
    figure = plt.figure(figsize=(12, 6.3), dpi=100)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.imshow(mel.squeeze(), origin='lower', aspect='auto', cmap='magma', interpolation='nearest')
    axes.axis('off')
    for height, size, text in (.78, 62, 'urbansounds_nb'), (.59, 30, 'Urban sounds, from the waveform\nto an honest ten-fold score'):
        figure.text(.06, height, text, size=size, color='white', weight='bold', path_effects=[withStroke(linewidth=7, foreground='#14071e')])
    figure.text(.06, .09, 'siren', size=34, color='#fcfdbf', weight='bold', path_effects=[withStroke(linewidth=6, foreground='#14071e')])
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert('RGB').quantize(48).save(CARD, optimize=True)

if __name__ == '__main__': draw()
