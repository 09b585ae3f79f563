"""`python -m keras_deepskip.cli`: the command `keras-deepskip`."""

import sys

from keras_deepskip.cli import main

if __name__ == "__main__":
    sys.exit(main())
