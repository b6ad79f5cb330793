"""From a config to clips on disk: ``plan`` (what to make), ``pipeline`` (make it), ``writer`` and ``report`` (keep it)."""
