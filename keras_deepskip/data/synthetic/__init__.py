"""Drawn scenes: small objects of the paper's six kinds on cluttered grounds, with exact masks.

They are for a first run without any data of one's own, and for tests. Three things make a scene
hard for a threshold and yet fair to a network: objects are darker *and* lighter than their
ground, distractors have the objects' own colours, and only shape and inner structure tell the
two apart.

How a scene is drawn: ground, then distractors, then objects (so that nothing covers them), then
blur and sensor noise. Shapes are signed distances `d` in a frame where the object is one unit long
(negative inside), so a pixel's coverage is 1/2 exactly where its centre lies on the outline.
"""

from keras_deepskip.data.synthetic.composition import draw_scene
from keras_deepskip.data.synthetic.kinds import KINDS, class_names
from keras_deepskip.data.synthetic.writing import sample, scenes

__all__ = ["KINDS", "class_names", "draw_scene", "sample", "scenes"]
