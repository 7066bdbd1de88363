"""A stand-in of the whole of UrbanSound8K: its official metadata, with tiny generated sounds.

`python tests/standin.py FOLDER [folder|archive|parquet] [10]` builds one by hand; 10 means a tenth.
"""
import csv, gzip, io, json, random, struct, sys, tarfile
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

METADATA = Path(__file__).parent/'data'/'urbansound8k.csv.gz'
COLUMNS = ('slice_file_name', 'fsID', 'start', 'end', 'salience', 'fold', 'classID', 'class')
KINDS = ('folder', 'archive', 'parquet')
# Sample rate (Hz): number of official files. Which file has which rate is drawn
RATES = {44100: 5370, 48000: 2502, 96000: 610, 24000: 82, 16000: 45, 22050: 44, 11025: 39,
         192000: 17, 8000: 12, 11024: 7, 32000: 4}
SECONDS, VARIANTS = .05, 3

def metadata():
    "The official metadata of all 8732 clips: a dictionary of strings for each"
    with gzip.open(METADATA, 'rt', newline='') as file: return list(csv.DictReader(file))

def rows(every=1):
    "The metadata with a `rate`; every n-th clip in order of fold, class and recording"
    found = sorted(metadata(), key=lambda row: (int(row['fold']), row['class'], row['slice_file_name']))
    rates = [rate for rate, n in RATES.items() for _ in range(n)]
    random.Random(0).shuffle(rates)
    return [row | {'rate': rate} for row, rate in zip(found, rates)][::every]

def _template(class_id, rate, variant):
    "A WAV file: a tone for the class, with some noise; the last four bytes are free"
    rng, t = np.random.default_rng([class_id, rate, variant]), np.arange(round(SECONDS*rate))/rate
    wave = .3*np.sin(2*np.pi*300*1.28**class_id*t + variant) + .02*rng.standard_normal(len(t))
    data = (32767*wave).astype('<i2').tobytes()
    head = struct.pack('<4sI4s4sIHHIIHH4sI', b'RIFF', 36+len(data), b'WAVE', b'fmt ', 16, 1, 1,
                       rate, 2*rate, 2, 16, b'data', len(data))
    return head + data

def sounds(rows):
    "The bytes of a WAV file for each row, all different"
    made = {}
    for number, row in enumerate(rows):
        kind = int(row['classID']), row['rate'], number % VARIANTS
        if kind not in made: made[kind] = _template(*kind)
        yield made[kind][:-4] + struct.pack('<HH', number % 10_000, number // 10_000)

def _csv(rows):
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()

def official_folder(folder, every=1):
    "The stand-in in the official layout"
    chosen = rows(every)
    for sub in ('metadata', *(f'audio/fold{fold}' for fold in range(1, 11))):
        (folder/sub).mkdir(parents=True, exist_ok=True)
    (folder/'metadata'/'UrbanSound8K.csv').write_bytes(_csv(chosen))
    for row, data in zip(chosen, sounds(chosen)):
        (folder/'audio'/f'fold{row["fold"]}'/row['slice_file_name']).write_bytes(data)
    return folder

def archive(path, every=1):
    "The stand-in as `UrbanSound8K.tar.gz`"
    chosen = rows(every)
    members = [('metadata/UrbanSound8K.csv', _csv(chosen)),
               *((f'audio/fold{row["fold"]}/{row["slice_file_name"]}', data)
                 for row, data in zip(chosen, sounds(chosen)))]
    with tarfile.open(path, 'w:gz', compresslevel=1) as file:
        for name, data in members:
            info = tarfile.TarInfo(f'UrbanSound8K/{name}')
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path

def parquet(folder, every=1, shards=16):
    "The stand-in as the Hub has it: the same columns, types, features and names of files"
    chosen = rows(every)
    kinds = dict(slice_file_name=str, fsID=int, start=float, end=float, salience=int, fold=int, classID=int) | {'class': str}
    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    names = {str: 'string', int: 'int64', float: 'float64'}
    schema = pa.schema([('audio', pa.struct([('bytes', pa.binary()), ('path', pa.string())])),
                        *((name, types[kind]) for name, kind in kinds.items())])
    features = {'audio': {'_type': 'Audio'}} | {
        name: {'dtype': names[kind], '_type': 'Value'} for name, kind in kinds.items()}
    schema = schema.with_metadata({'huggingface': json.dumps({'info': {'features': features}})})
    records = [{'audio': {'bytes': data, 'path': row['slice_file_name']}}
               | {name: kind(row[name]) for name, kind in kinds.items()}
               for row, data in zip(chosen, sounds(chosen))]
    (folder/'data').mkdir(parents=True, exist_ok=True)
    size = -(-len(records)//shards)
    for shard in range(shards):
        part = pa.Table.from_pylist(records[shard*size:(shard+1)*size], schema)
        pq.write_table(part, folder/'data'/f'train-{shard:05d}-of-{shards:05d}-standin.parquet', row_group_size=100)
    return folder

def build(folder, kind='folder', every=1):
    "The stand-in as one of KINDS below an existing folder; returns what to give to `--data`"
    folder = Path(folder)
    if kind == 'archive': return archive(folder/'UrbanSound8K.tar.gz', every)
    return {'folder': official_folder, 'parquet': parquet}[kind](folder/'UrbanSound8K', every)

if __name__ == '__main__':
    place, kind, every = (sys.argv[1:] + ['folder', '1'][len(sys.argv)-2:])[:3]
    Path(place).mkdir(parents=True, exist_ok=True)
    print(build(place, kind, int(every)))
