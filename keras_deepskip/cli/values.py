"""Values of the command line: texts read as what the functions take."""

import argparse
import json


def option_value(text):
    """Reads `NAME=VALUE` as (name, value); a value that is no JSON is a text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"NAME=VALUE was expected. Received: {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def boolean_or_number(text):
    """Reads `yes`, `no` or a whole number."""
    known = {"yes": True, "true": True, "no": False, "false": False}
    return known[text.lower()] if text.lower() in known else int(text)


def number_or_none(text):
    """Reads a whole number; `none` and 0 are None."""
    return None if text.lower() == "none" else int(text) or None


def number_or_all(text):
    """Reads a whole number, or `all`."""
    return text if text == "all" else int(text)


def named_folder(text):
    """Reads `NAME=FOLDER` as (name, folder)."""
    name, sign, folder = text.partition("=")
    if not sign or not folder:
        raise argparse.ArgumentTypeError(f"NAME=FOLDER was expected. Received: {text!r}")
    return name, folder


def color_and_id(text):
    """Reads `R,G,B=ID` as (R, G, B, ID)."""
    color, _, class_id = text.partition("=")
    red, green, blue = color.split(",")
    return int(red), int(green), int(blue), int(class_id)


def value_and_id(text):
    """Reads `VALUE=ID` as (VALUE, ID)."""
    value, _, class_id = text.partition("=")
    return int(value), int(class_id)


def class_and_id(text):
    """Reads `NAME` or `NAME=ID` as (NAME, ID or None)."""
    name, _, class_id = text.partition("=")
    return name, int(class_id) if class_id else None


def chosen_classes(pairs):
    """The list of names or dict to ids that `import_set` takes, of pairs (name, id or None)."""
    if not pairs or all(class_id is None for _, class_id in pairs):
        return [name for name, _ in pairs] if pairs else None
    if any(class_id is None for _, class_id in pairs):
        raise ValueError("--classes takes NAME for each, or NAME=ID for each, not both")
    return dict(pairs)


def color_table(rows):
    """The dict from (r, g, b) to class id that the functions take, of rows (r, g, b, id)."""
    return {tuple(row[:3]): row[3] for row in rows} if rows else None
