"""jaxtalk: text or audio in, fully synthetic and exactly annotated talking-head clips out."""

__version__ = "0.1.0"
