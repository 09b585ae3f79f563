"""`python -m keras_deepskip.cli`: the command `keras-deepskip`."""

import sys

from keras_deepskip.cli import main

sys.exit(main())
