#!/usr/bin/env python3
"""Measure time and memory against the baselines, and write the results as CSV.

    python bench/run.py [NAME ...] --data path/to/recordings      (default: all benchmarks)
"""
import argparse
import os
import sys
import time
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).resolve().parent))
import claims   # noqa: E402
from measure import NAMES, as_table, read_bench, write_bench, write_readme   # noqa: E402
from urbansounds_nb.core import cli_errors   # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'what to measure: {", ".join(NAMES)}')
    parser.add_argument('--data', default='synthetic', help='source of recordings, as for urbansounds_prepare')
    parser.add_argument('--results', default='bench', help='folder for the CSVs and the table')
    parser.add_argument('--quick', action='store_true', help='small inputs and few repeats: to try it out, not to quote')
    args = parser.parse_args(arguments)
    for name in args.names:
        if name not in NAMES: parser.error(f'unknown benchmark {name!r}: choose {", ".join(NAMES)}')
    load = getattr(os, 'getloadavg', lambda: [0.])()[0]
    with cli_errors():
        for name in args.names or [name for name in NAMES if name != 'gpu' or torch.cuda.is_available()]:
            path, before = Path(args.results)/f'{name}.csv', read_bench(args.results, name)
            if before and (args.quick or not before[0]['quick']):
                print(f'{path}: measured before; remove it to measure again')
                continue
            start, rows = time.perf_counter(), getattr(claims, name)(args.data, args.quick)
            write_bench(path, name, rows, args.quick, load)
            print(f'{name} ({time.perf_counter()-start:.0f} s)\n{as_table(rows)}\n', flush=True)
            write_readme(args.results)


if __name__ == '__main__': main()
