"""The operating system: terminal, files on disk, memory."""
