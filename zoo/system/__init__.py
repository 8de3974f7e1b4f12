"""The system around the zoo: terminal, files on disk, memory."""
