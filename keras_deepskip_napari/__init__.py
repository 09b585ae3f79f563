"""The plugin for napari: finds objects in the open layer, and opens what `predict` has written.

It is outside of `keras_deepskip`, because importing anything of that loads a backend, which takes
seconds: napari's window must not wait for it. What needs the package imports it where it is used.
`results` and `prediction` take and give layer data (`(data, attributes, kind of layer)`) and know
neither napari nor Qt; `widgets` is what napari shows.
"""
