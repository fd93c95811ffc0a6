"""RecBole-style entry: python run_recbole_popdcl.py --model=PopDCL --dataset=ml-100k [--any_property=value]"""

import sys

from recbole_popdcl.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
