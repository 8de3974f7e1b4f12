"""Training: run folders, schedules, transfer learning, distillation."""
