"Everything about the package is in settings.ini, which nbdev reads too"
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
settings = parser['DEFAULT']
extras = ('dev', 'app', 'onnx', 'ray')

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8') if (here/'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author=settings['author'],
    author_email=settings['author_email'],
    url=settings['git_url'],
    keywords=settings['keywords'].split(),
    packages=find_packages(include=['urbansounds_nb*']),
    include_package_data=True,
    # the model of urbansounds_predict, and the examples of the web page
    package_data={'urbansounds_nb': ['*.safetensors', '*.md', '*.ogg']},
    python_requires='>=' + settings['min_python'],
    install_requires=settings['requirements'].split(),
    extras_require={name: settings[f'{name}_requirements'].split() for name in extras},
    entry_points={
        'console_scripts': settings['console_scripts'].split(),
        'nbdev': [f'{settings["lib_name"]}={settings["lib_path"]}._modidx:d'],
    },
    zip_safe=False,
)
