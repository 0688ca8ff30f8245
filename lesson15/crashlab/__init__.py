"""Every disk that a power cut may leave behind, and who loses what on it."""
