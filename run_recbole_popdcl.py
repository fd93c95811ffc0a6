"""RecBole-style entry: python run_recbole_popdcl.py --model=PopDCL --dataset=ml-100k [--any_property=value]

With --tune the hyper-parameters are searched on Ray Tune; the options are those of ``recbole-popdcl tune``.
"""

import sys

from recbole_popdcl.cli import main

if __name__ == "__main__":
    options = [argument for argument in sys.argv[1:] if argument != "--tune"]
    sys.exit(main(["tune" if len(options) < len(sys.argv) - 1 else "run", *options]))
