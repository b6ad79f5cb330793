"""A config becomes clips on disk: ``plan`` says what, ``pipeline`` makes it, ``writer`` and ``report`` keep it."""
