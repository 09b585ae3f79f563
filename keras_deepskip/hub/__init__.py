"""Trained models on the Hugging Face Hub, each with a card that says what it finds."""

from keras_deepskip.hub.model_card import model_card
from keras_deepskip.hub.pushing import push_to_hub

__all__ = ["model_card", "push_to_hub"]
