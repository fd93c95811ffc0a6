"""RecBole-style entry: python run_recbole_popdcl.py --model=PopDCL --dataset=ml-100k [--any_property=value]

With --tune the hyper-parameters are searched on Ray Tune; the options are those of ``recbole-popdcl tune``. --version
needs no package but this one, and so shows whether a Python will do before anything is installed.
"""

import sys

if not (3, 11) <= sys.version_info < (3, 15):  # before any import, which an older Python could not even read
    sys.stderr.write("recbole-popdcl: error: needs Python 3.11 to 3.14, not %d.%d\n" % sys.version_info[:2])  # noqa: UP031
    sys.exit(2)


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        from recbole_popdcl import __version__

        print("recbole-popdcl %s, Python %d.%d.%d" % ((__version__,) + sys.version_info[:3]))  # noqa: RUF005, UP031
        sys.exit(0)
    from recbole_popdcl.cli import main

    options = [argument for argument in sys.argv[1:] if argument != "--tune"]
    command = "tune" if len(options) < len(sys.argv) - 1 else "run"
    sys.exit(main([command] + options))  # noqa: RUF005, Python 2 reads this file too
